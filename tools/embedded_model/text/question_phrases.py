"""Rules for neutral instructions and for the questions.

`phrases.py` explains the notation.
"""

__all__ = ["QUESTION_RULES"]

QUESTION_RULES = """
neutral = You are a helpful assistant. | You are an assistant. | Answer the question.
    | Reply to the user. | You are a chat model. | This is a conversation with a user.
    | Talk with the user. | Respond to the message below. | <persona> | <persona> <persona>

ask = What is <T>? | What is <T>, in your own words? | What is the point of <T>?
    | What is special about <T>? | What is interesting about <T>? | What is good about <T>?
    | What makes <T> special? | What makes <T> so popular? | What matters in <T>?
    | What should I know about <T>? | What should a beginner know about <T>?
    | What can you tell me about <T>? | What can you say about <T>? | What do people mean by <T>?
    | What do you know about <T>? | What do experts say about <T>? | What do I need for <T>?
    | What is the best way to approach <T>? | What is the best way to <do> <T>?
    | What is the easiest way to <do> <T>? | What is a good way to <do> <T>?
    | What happens with <T> in winter? | What are the basics of <T>? | What are the uses of <T>?
    | What are some facts about <T>? | How does <T> work? | How do <T> work?
    | How do I start with <T>? | How do I <do> <T>? | How do people <do> <T>?
    | How do you <do> <T>? | How can I <do> <T>? | How can someone <do> <T>?
    | How can I get better at <T>? | How can I learn more about <T>? | How should I <do> <T>?
    | How should we <do> <T> at home? | How would you <do> <T>? | How is <T> made?
    | How are <T> made? | How did <T> begin? | How important is <T>? | Why is <T> important?
    | Why are <T> important? | Why do people <do> <T>? | Why do people like <T>?
    | Why does <T> matter? | Why should I care about <T>? | Why would anyone <do> <T>?
    | Can you tell me about <T>? | Can you explain <T>? | Can you explain <T> to me?
    | Can you describe <T>? | Can you help me with <T>? | Can you help me <do> <T>?
    | Can you teach me about <T>? | Could you explain how <T> works?
    | Could you tell me how to <do> <T>? | Could you give me advice on <T>?
    | Could you help me understand <T>? | Would you tell me about <T>?
    | Will you help me <do> <T>? | Please tell me about <T>. | Please explain <T>.
    | Please help me <do> <T>. | Tell me about <T>. | Tell me something about <T>.
    | Tell me how to <do> <T>. | Explain <T>. | Explain <T> to me. | Explain how <T> works.
    | Describe <T>. | Give me some advice about <T>. | Give me a tip about <T>.
    | I want to <do> <T>. | I want to know about <T>. | I want to learn about <T>.
    | I need help with <T>. | I need to <do> <T>. | I would like to <do> <T>.
    | I am curious about <T>. | Is <T> worth the effort? | Is <T> a good idea?
    | Is it hard to <do> <T>? | Is it worth it to <do> <T>? | Is there a simple way to <do> <T>?
    | Are <T> worth it? | Does <T> really matter? | Do you know how to <do> <T>?
    | Do you have any tips for <T>? | When should I <do> <T>? | When is the best time to <do> <T>?
    | When did people begin to <do> <T>? | Where can I find <T>? | Where do <T> come from?
    | Where does <T> come from? | Where should I <do> <T>? | Which kind of <T> is best?
    | Who uses <T>? | Who can help me <do> <T>? | Should I <do> <T>? | Should I worry about <T>?
    | My friend talks about <T> a lot. What is it? | My sister wants to <do> <T>. How?
    | I saw <T> yesterday. Can you explain it? | Any thoughts on <T>? | What about <T>?
    | I have a question about <T>. | Let us talk about <T>. | Help me with <T>.
    | Help me <do> <T>.
ask_free = What is the <aspect> <of> <T>? | What is the <a_aspect> <aspect> <of> <T>?
    | What is a <a_aspect> <aspect> <of> <T>? | What is your <aspect> <of> <T>?
    | What is <judgement> about <T>? | What <aux> <agent> <verb> <of> <T>?
    | What <aux> <agent> <verb> <agent> <of> <T>? | What <aux> <agent> <do> with <T>?
    | What <aux> <T> <do_to> <agent>? | What <aux> <T> <do_to> <place>?
    | What <does_to> <T> so <judgement>? | What <does_to> <T> <judgement>?
    | What comes <after> <T>? | What goes on with <T> <when>? | How <aux> <agent> <do> <T>?
    | How <aux> <agent> <do> <T> <when>? | How <aux> <agent> <verb> <of> <T>?
    | How <aux> <T> <do_to> <agent>? | How <aux> <T> <do_to> <place>? | How <aux> <T> <happen>?
    | How <judgement> is <T>? | How <judgement> are <T> <when>?
    | How much <aux> <agent> <verb> <of> <T>? | Why <aux> <agent> <do> <T>?
    | Why <aux> <agent> <verb> <of> <T>? | Why <aux> <T> <happen>? | Why is <T> so <judgement>?
    | Why are <T> <judgement>? | Why is <T> <happening>? | When <aux> <agent> <do> <T>?
    | When <aux> <T> <happen>? | Where <aux> <agent> <do> <T>?
    | Where <aux> <agent> <verb> <of> <T>? | Where would <an_aspect> of <T> be?
    | Who <verbs> <of> <T> <when>? | Which <aspect> <of> <T> is <judgement>?
    | Can <agent> <do> <T> <when>? | Could you <verb> <agent> <of> <T>?
    | Could you <verb> a little <of> <T>? | Would <agent> <do> <T>?
    | Do you <verb> anything <of> <T>? | Do <agent> <verb> <of> <T>? | Does <T> <do_to> <place>?
    | Is <T> <judgement> <when>? | Are <T> <judgement>? | <agent> <verbs> <of> <T>. What is it?
    | I <verb> <of> <T> a lot. Why? | In <place>, how <aux> <agent> <do> <T>?
    | When it comes to <T>, what is <judgement>? | For <agent>, what is <judgement> about <T>?
    | As to <T>, what <aux> <agent> <do>? | <T>: what is it?
aspect = use | value | story | history | nature | future | past | role | shape | cost | price
    | beauty | trick | problem | danger | benefit | advantage | fun | rule | tool | plan | view
    | opinion | lesson | fact | point | part | side | step | goal | source | origin | effect
    | result | need | meaning | name | place | size | colour | way | style | method | key | start
    | end | course | choice | kind | habit | question | thought
a_aspect = first | second | next | last | common | usual | easy | quick | hard | big | small
    | great | strange | real | true | safe | simple | clever | proper | early | old | new | right
    | wrong | fair
an_aspect = a visit | a talk | a study | a picture | a show | a display | a book | a film
    | a course | a lesson
of = of | with | in | about | on | for | from | behind | to | around | near | by | without
aux = do | does | did | can | could | should | would | will | might | must
agent = I | we | you | they | one | people | someone | anyone | beginners | students | teachers
    | children | parents | workers | farmers | friends | experts | doctors | artists | a person
    | a friend | a child | a team | a group | a town | the world | my brother | my aunt | my uncle
    | our boss | the police | most people | a stranger | an old man
verb = say | think | know | hear | learn | talk | ask | care | worry | write | read | dream | tell
    | teach | show | see | feel | want | expect | hope | understand | complain | speak | work
    | explain | remember | forget | get | take | need
verbs = knows | talks | writes | thinks | speaks | dreams | cares | worries | asks | reads | hears
    | learns | works | complains
do_to = help | change | affect | serve | surprise | please | teach | feed | harm | support | reach
    | move | shape | fill | leave | enter | join | touch | matter to | belong to | work for | fit
    | suit | bring to | give | mean to | mean for | add to | do for | do to | cost
does_to = makes | made | keeps | turns | gets
place = the city | the country | the house | our lives | daily life | society | a village
    | the office | the shop | a family | nature | the kitchen | the economy | the market | science
    | art | culture | a small room | the body | the mind | the north | Europe | Africa | the park
judgement = good | bad | useful | interesting | popular | special | important | difficult | easy
    | strange | funny | expensive | cheap | beautiful | dangerous | safe | rare | strong | healthy
    | famous | old | new | different | true | unusual | loved | feared | helpful | worth a look
    | best | most important
happen = happen | work | begin | end | grow | change | appear | vanish | move | spread out | last
    | fail | succeed | cost so much | come about | fall apart | look that way | sell | exist
    | get made
happening = changing | growing | popular again | in the news | so old | so new | going away
    | everywhere | so hard to find
after = before | after | with | from | out of | next to | first in
when = today | now | at night | in summer | in winter | at work | at home | in the rain
    | these days | on a Sunday | next year | in general | this week | in old age | over time
    | on holiday | in the morning | for the first time | with little money | in a hurry
do = <do1> | <do1> | <do1> | <made>
do1 = use | try | start | make | find | choose | buy | build | keep | store | clean | fix
    | improve | understand | learn | study | enjoy | collect | prepare | plan | handle | compare
    | check | care for | look after | work with | deal with | think about | read about
    | write about | get | move | protect | draw | grow | test | describe | photograph | repair
    | watch | carry | share | organise | measure | set up | join | teach | spot | cook | change
    | remove | train | paint | save
"""
