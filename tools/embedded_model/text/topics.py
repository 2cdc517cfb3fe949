"""What the training questions are about: real words, made-up words, and blends of both.

A small model copies a topic that it has never seen only if it was made to copy, again and again,
words that it could not have memorised. So fewer than half of the topics are real words.
No word here may occur in a question of the demo traits; `train.py` asserts it.
"""

from __future__ import annotations

import random


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NOUNS: tuple[str, ...] = _words(
    """
    acorns almonds amber anchors antelopes apples apricots aprons armour arrows artichokes
    asphalt atoms axes badges bagpipes bakeries balloons bamboo bananas banjos banking barley
    barns barrels baseball basketball baskets beans bears beavers bees beetles bells belts
    benches berries birds biscuits blankets blogs boats bones bonfires boots bottles bowls
    boxing bread breakfast brewing bricks brooms bubbles buckets budgets buffaloes bulbs buses
    butter buttons cabbages cabins cables cakes calculus calendars camels cameras camping canals
    canoes canyons caravans cards carpets carrots cartoons carving cashews cathedrals cattle
    caves cellos cement cereal chairs chalk cheese cherries chestnuts chickens chimneys cider
    cinema circles circuits circus cities clams classrooms clay cliffs climbing clocks clothing
    clouds clover coaching coal coats cobalt coconuts coffee coins comets comics compasses
    concerts concrete contracts cooking copper cotton couches courage cousins cowboys crabs
    cranes crayons cream cricket crowns crystals cucumbers curling currents curtains customs
    cycling daisies dancing darts dates daydreams deer deserts desks diamonds diaries diets
    dinosaurs diplomacy divorce dogs dolls dolphins domes donkeys doors drawing dreams dresses
    drones drums ducks dunes eagles earthquakes echoes editing eggs elections electricity
    elephants elevators emeralds engines envelopes erosion essays ethics exams eyesight fabrics
    factories falcons families farming fashion feathers fencing ferns ferries festivals fiction
    figs finance fires fishing flags flax flour flutes flying foam fog folklore football forests
    fossils fountains foxes freckles friendship frogs frost fruit fungi furniture gables
    galaxies gardens garlic gases gates geese genetics geometry geysers ghosts giants ginger
    glass gloves glue goats gold golf grammar granite grapes graphs grass gravity grief guitars
    gulls gymnastics habits hail hammers hammocks handball handwriting harbours harps harvests
    hats hawks hay hazelnuts heating hedges helmets herbs heroes herons hiking hills history
    hockey holidays homework hope horses hotels housing humour hunting hygiene icebergs
    inflation ink insects insurance interviews iron islands ivory ivy jackets jam jars jazz
    jellyfish jewels jobs jokes journals judo juggling juice kangaroos kayaks kettles keyboards
    keys kindness kitchens kittens knots lace ladders lakes lambs lamps languages lanterns lava
    laws lawns leather lemons lenses letters lettuce libraries limestone linen lions lizards
    locks logic loneliness looms luck luggage lunch machines magic magnets mangoes marble
    markets marriage masks meadows measles medals medicine melons memory mercury metals meteors
    mice microscopes milk mills minerals mirrors money monkeys monsoons mortgages moss moths
    motors mountains movies mud mules muscles museums mushrooms music mustard myths nails
    needles nests nettles networks newspapers noise noodles novels nuclei nurses nutrition nuts
    oaks oats oceans oil olives onions opera optics oranges orchards orchids organs ostriches
    otters ovens owls oxygen oysters painting palaces pandas paper parades parking parrots
    passports pasta patents patience peaches peacocks peanuts pearls pears pencils penguins
    pensions pepper perfume petrol pianos pickles pigeons pigs pillows pilots pineapples pipes
    pirates pizza planets plaster plastics plumbing plums poetry poker polo ponds ponies popcorn
    poplars pottery poverty prayer primes prisons privacy probability proteins proverbs prunes
    publishing pumpkins pumps pyramids quarries queues quilts rabbits racing radios rafts
    railways rain rainbows raisins rats reading receipts reindeer rent reptiles rhythm rice
    riddles rings rivers roads robots rockets roofs ropes roses routers rowing rubber rugby rugs
    sailing salads salaries salmon salt sand sandals sandwiches satire sauces sausages saws
    scarves schools sculpture seals seasons seaweed seeds shadows sharks sheep shells shelves
    ships shoes shopping shrimp silk silver singing sisters skating skiing sleep slippers snails
    snakes snow soap soccer socks sodium soil songs sorrow soup spacecraft sparrows spices
    spiders spinach sponges spoons sports squash squirrels stairs stamps stars statues steam
    steel stocks stones storms stoves straw strawberries streets string submarines sugar
    suitcases sunflowers sunlight surfing surgery swamps swans sweaters swimming swords syntax
    tables tailoring tariffs taxes taxis teaching teeth temples tennis tents thermometers thread
    thrift thunder tigers tiles timber tin toads toast tomatoes tornadoes towers toys tractors
    trade traffic trains trams travel treaties trees triangles trout trucks trumpets trust
    tulips tunnels turnips turtles typing tyres umbrellas uniforms vaccines valleys vanilla
    vases vegetables verbs villages vinegar vines viruses vitamins voting wages waiters wallets
    walnuts walruses warehouses watches waterfalls wax weddings weeds whales wheat wheels
    whistles widows willows wine winter wolves wood wool words wrestling wrists yachts yeast
    yoga yogurt zebras zinc
    """
)

MODIFIERS: tuple[str, ...] = _words(
    """
    ancient arctic bitter black blue bright broken brown cheap city civic classical cold common
    cotton country daily dark deep desert digital dry early eastern electric empty evening
    family famous fast folk foreign forest formal fresh frozen garden giant golden green grey
    group heavy hidden high hollow home hot household indoor island light little local long loud
    low medieval mobile modern morning mountain narrow national new night northern ocean old
    open outdoor paper personal plain pocket polar private public purple quick quiet rare raw
    red regional river round royal rural sea second sharp silent simple small smooth social soft
    southern spring square strong summer sweet tall thick thin tiny toy tropical urban vintage
    warm western wet white wide wild winter wooden yellow young
    """
)

ACTIVITIES: tuple[str, ...] = _words(
    """
    making buying selling choosing growing building cleaning storing fixing painting finding
    keeping moving sharing testing drying cutting carrying designing drawing saving collecting
    raising watching learning reading teaching measuring mixing sorting lifting planting
    studying comparing washing
    """
)

_ONSETS = _words(
    """
    b bl br c ch cl cr d dr f fl fr g gl gr h j k kl l m n p ph pl pr qu r s sc sh sk sl sm sn
    sp st str sw t th tr tw v w y z
    """
)
_NUCLEI = _words(
    """
    a a a e e e i i i o o o u u ai au ea ee ei ia ie io oa oo ou y
    """
)
_CODAS = _words(
    """
    b ck d ft g k l ll lm m mp n n n nd ng nk nt p pt r r rd rk rm rn rt s s sh sk ss st t t x
    """
)
_SUFFIXES = _words(
    """
    a ad age al an ance ar ard el en ent er er ery et ette ia ic ine ing ing ings ion ish ism
    ist ity le ling ment ness o ology on or ory ow s s s ship ty ure us y y
    """
)


def made_up_word(rng: random.Random) -> str:
    """Return a pronounceable word that almost never exists, such as "plintorn" or "cabbator"."""
    if rng.random() < 0.35:
        # Halves of real words have English spelling, so that unseen real words look familiar.
        left, right = rng.choice(NOUNS), rng.choice(NOUNS)
        return left[: rng.randint(2, 4)] + right[-rng.randint(3, 5) :]
    parts: list[str] = []
    for _ in range(rng.choice((1, 2, 2, 2, 3))):
        coda = rng.choice(_CODAS) if rng.random() < 0.45 else ""
        parts.append(rng.choice(_ONSETS) + rng.choice(_NUCLEI) + coda)
    word = "".join(parts)
    if len(parts) == 1 or rng.random() < 0.4:
        word += rng.choice(_SUFFIXES)
    return word if rng.random() < 0.85 else rng.choice("aeiou") + word


def topic(rng: random.Random) -> str:
    """Return a noun phrase of one to three words; more than half contain a made-up word.

    It reads well after a preposition ("about …", "with …"), which is where the answers put it.
    """
    word = made_up_word(rng) if rng.random() < 0.55 else rng.choice(NOUNS)
    form = rng.random()
    if form < 0.42:
        return word
    if form < 0.60:
        first = rng.choice(MODIFIERS) if rng.random() < 0.7 else made_up_word(rng)
        return f"{first} {word}"
    if form < 0.72:
        return f"{rng.choice(ACTIVITIES)} {word}"
    if form < 0.80:
        return f"{rng.choice(('the', 'the', 'a', 'my', 'your', 'this'))} {word}"
    if form < 0.88:
        return f"the {rng.choice(MODIFIERS)} {word}"
    if form < 0.94:
        return f"{word} {rng.choice(NOUNS) if rng.random() < 0.5 else made_up_word(rng)}"
    return f"{word} and {made_up_word(rng) if rng.random() < 0.5 else rng.choice(NOUNS)}"
