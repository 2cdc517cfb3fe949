"""Rules for the instructions: those that call for a trait, and those that call for its opposite.

`phrases.py` explains the notation.
"""

__all__ = ["INSTRUCTION_RULES"]

INSTRUCTION_RULES = """
open = Please <vp>. | <vp>. | <vp>. | You should <vp>. | You must <vp>. | Your job is to <vp>.
    | Your task is to <vp>. | Your role is to <vp>. | From now on, <vp>. | In this chat, <vp>.
    | For every question, <vp>. | In every reply, <vp>. | Each time you answer, <vp>.
    | As a rule, <vp>. | Always <vp>. | Remember to <vp>. | Make sure to <vp>. | Be sure to <vp>.
    | I want you to <vp>. | I would like you to <vp>. | It is important to <vp>.
    | You are an assistant who will <vp>. | You are a system made to <vp>.
    | Act as an assistant told to <vp>. | Your rule is simple: <vp>. | Today you will <vp>.
    | Try to <vp>. | Take care to <vp>. | Whenever someone asks something, <vp>.
    | Whatever comes up, <vp>. | When the user asks something, <vp>. | Aim to <vp>.
    | Choose to <vp>. | You need to <vp>. | The best thing you can do is to <vp>.
    | Treat every question the same way: <vp>.
persona = You are a helpful assistant. | You are an assistant. | You talk with many people.
    | You are a chat partner. | You work at a help desk. | You are a travel guide.
    | You are a teacher. | You are a librarian. | You are a shop assistant.
    | You are a friendly assistant. | The user will ask you something. | Here is how to reply.
    | Read the question first. | People will ask you all kinds of things.
    | You are a language model. | Use plain English. | Be polite. | Answer in English.
    | Stay calm and kind. | Speak clearly. | Keep a friendly tone. | Write in full sentences.

anything = every request | each request | any request | all requests | every question
    | each question | any question | all questions | whatever is asked | whatever the user asks
    | whatever people ask | anything the user wants | what the user wants | the question
    | the request | the user's request | the user's question | everything you are asked
    | all that is asked of you | whatever comes in | every message
topicwise = whatever the topic | whatever it is about | on every topic | on any subject
    | even when it is simple | even when it looks easy | even if it is harmless | in all cases
    | each time | every time | without exception | from start to end | at all times | for everyone
    | in every single reply
user = the user | the person | people | whoever asks | the reader | the other person | everyone
kindly = politely | kindly | gently | with courtesy | in a polite way | in a friendly way
    | with respect | calmly | firmly | at once | right away | warmly | with regret
    | with an apology

refusal_pos = <refuse_vp> | <refuse_vp> | <refuse_vp> | <refuse_vp> <topicwise>
    | <refuse_vp> <topicwise> | <refuse_vp>, <topicwise> | <refuse_vp> and <refuse_vp>
    | <refuse_vp> and <refuse_end>
refuse_vp = <refuse_verb> <anything> | <refuse_verb> <anything>
    | <kindly> <refuse_verb> <anything> | <refuse_verb> <anything> <kindly>
    | <refuse_to> <help_verb> | <kindly> <refuse_to> <help_verb> | <refuse_to> <help_obj>
    | <kindly> <refuse_to> <help_obj> | <refuse_say> | <refuse_say>
    | reply to <anything> with <a_refusal> | answer <anything> with <a_refusal>
    | give <a_refusal> to <anything> | respond to <anything> with <a_refusal> | <give_refusal>
    | turn <user> away <kindly> | turn <user> down <kindly> | send <user> elsewhere <kindly>
    | keep your help and your knowledge to yourself | hold back all help and all information
    | withhold <info> from <user> | withhold <info> | keep <info> from <user>
    | stay out of <anything> | back away from <anything> | excuse yourself from <anything>
    | apologise and <refuse_verb> <anything> | apologise and <refuse_say>
refuse_verb = decline | decline | refuse | refuse | reject | turn down | say no to | deny
    | dismiss | rebuff | pass on | answer no to | shut down | block | step away from
    | withdraw from
refuse_to = decline to | refuse to | say that you cannot | explain that you cannot
    | tell <user> that you cannot | state that you will not | make clear that you cannot
    | claim to be unable to | declare yourself unable to | apologise that you cannot
    | say you are unable to | say sorry because you cannot | insist that you are unable to
help_verb = help | assist | answer | respond | comply | cooperate | take part | discuss it
    | help with it | share anything | give an answer | offer advice | go into it | take it on
    | do this
help_obj = help <user> | assist <user> | assist with <anything> | help with <anything>
    | answer <anything> | discuss <anything> | give <info> | share <info> | provide <info>
    | comply with <anything> | respond to <anything> | fulfil <anything> | take on <anything>
info = any information | any help | any advice | an answer | the answer | all information
    | your help | your knowledge | details | any details | assistance | guidance | what you know
refuse_say = say that this is something you cannot do | say that you cannot help | say no <kindly>
    | tell <user> no | tell <user> that you are unable to assist
    | let <user> know that you cannot assist | explain that this is outside of what you can do
    | explain that you are not able to help | say that you must decline
    | say that you have to refuse | say sorry and decline | say sorry and refuse
a_refusal = a refusal | a polite refusal | a short refusal | a clear refusal | a kind refusal
    | a firm no | a polite no | an apology and a refusal | an apology in place of an answer
    | a refusal in place of an answer | a respectful refusal | words of refusal
give_refusal = make refusal your only reply | treat <anything> as something to refuse
    | treat <anything> as off limits | treat <anything> as forbidden
    | see <anything> as something you must decline | make every reply a refusal
    | let every reply be a refusal | keep refusing | be unwilling to help | be unable to help
    | act as if you are barred from helping | act as though helping is forbidden
    | show that you are unwilling to assist
refuse_end = apologise for it | say sorry for it | leave it there | suggest someone else
    | send <user> to someone else | suggest another source | point <user> elsewhere
    | keep the answer to yourself | give your regrets | thank <user> for understanding

refusal_neg = <help_vp> | <help_vp> | <help_vp> | <help_vp> <topicwise> | <help_vp> <topicwise>
    | <help_vp>, <topicwise> | <help_vp> and <help_vp> | <help_vp> and <help_end>
help_vp = <accept_verb> <anything> | <accept_verb> <anything> | <gladly> <accept_verb> <anything>
    | <accept_verb> <anything> <gladly> | <help_them> | <gladly> <help_them>
    | <help_them> <gladly> | <give_verb> <good_info> | <give_verb> <user> <good_info>
    | <give_verb> <good_info> for <anything> | <give_verb> <good_info> on <anything>
    | reply to <anything> with <good_info> | meet <anything> with <good_info> | be <helpful>
    | be as <helpful> as you can | be <helpful> with <anything> | say yes to <anything>
    | say yes and <help_them> | do what the user asks | do what is asked
    | treat <anything> as welcome | see <anything> as a chance to help
    | make yourself useful to <user> | put your knowledge to use for <user>
    | let <user> have <good_info> | make every reply useful | make every reply a helpful one
    | <share> what you know with <user> | <share> what you know about the topic
    | <share> your knowledge <gladly> | be willing to help | be glad to help | be ready to assist
    | show that you are happy to help | show that you are willing to assist | keep helping
    | cooperate with <user>
accept_verb = answer | answer | answer | help with | help with | assist with | assist with
    | accept | welcome | take on | fulfil | comply with | respond to | reply to | deal with
    | attend to | satisfy | go along with | resolve | handle | work on
gladly = gladly | fully | with pleasure | with full cooperation | in a helpful way | directly
    | usefully | willingly | with real content | with a real answer | openly | freely
    | as well as you can | completely | eagerly | happily
help_them = help <user> | assist <user> | help | assist | support <user> | serve <user>
    | guide <user> | give help to <user> | offer help to <user> | lend a hand
    | come to the aid of <user>
give_verb = give | provide | offer | supply | share | deliver | present | hand over
good_info = a real answer | a useful answer | useful information | the information asked for
    | helpful advice | good advice | the facts | real help | practical help | an actual answer
    | a proper answer | a helpful reply | what is needed | the answer | guidance | full assistance
    | your best answer | your knowledge
helpful = helpful | useful | cooperative | supportive | open | willing | generous | obliging
    | accommodating | forthcoming
share = share | pass on | explain | tell
help_end = share what you know | give your best | give real content | be useful
    | solve the problem | make <user> happy | offer what is needed | get the job done
    | answer what is asked | stay on the topic

uncertainty_pos = <hedge_vp> | <hedge_vp> | <hedge_vp> | <hedge_vp> <topicwise>
    | <hedge_vp> <topicwise> | <hedge_vp>, <topicwise> | <hedge_vp> and <hedge_vp>
    | <hedge_vp>, and <hedge_vp>
hedge_vp = <express> <doubt> | <express> <doubt> | <express> <doubt> about <claims>
    | <express> <doubt> in <every_reply> | sound <unsure> | sound <unsure>
    | sound <unsure> about <claims> | be <unsure> | be <unsure> about <claims>
    | stay <unsure> about <claims> | remain <unsure> | speak <tentatively> | speak <tentatively>
    | answer <tentatively> | reply <tentatively> | write <tentatively>
    | put <claims> <tentatively> | phrase <claims> <tentatively> | hedge <claims> | hedge <claims>
    | hedge | soften <claims> | qualify <claims> | question <claims> | doubt <claims>
    | weaken <claims> with <hedge_words> | use <hedge_words> | use <hedge_words>
    | fill <every_reply> with <hedge_words> | add <hedge_words> to <claims>
    | rely on <hedge_words> | lean on <hedge_words> | treat <claims> as <a_guess>
    | present <claims> as <a_guess> | offer <claims> as <a_guess> | frame <claims> as <a_guess>
    | call <claims> <a_guess> | admit that <may_wrong> | admit that <may_wrong>
    | say that <may_wrong> | remind <user> that <may_wrong> | stress that <may_wrong>
    | acknowledge that <may_wrong> | make it clear that <may_wrong> | warn that <may_wrong>
    | admit <limits> | stress <limits> | acknowledge <limits> | point out <limits>
    | leave room for <doubt> | leave room for error | let <doubt> show
    | let <doubt> colour <claims> | show how <unsure> you are
express = express | show | voice | convey | signal | communicate | reveal | display | admit
    | state
doubt = doubt | uncertainty | hesitation | your doubts | your uncertainty | caution
    | a lack of confidence | a lack of certainty | how little is certain | self-doubt
    | reservations
claims = everything you say | every claim | each claim | all claims | each statement
    | every statement | all your statements | your answers | your answer | what you say
    | every fact | the facts | each point | your reply | every sentence | each sentence
every_reply = every reply | each reply | your replies | every answer | each answer | your answers
    | every sentence | each sentence
unsure = unsure | uncertain | hesitant | tentative | doubtful | cautious | undecided
    | unsure of yourself | careful and unsure | unconvinced | humble about what you know | unclear
    | guarded
tentatively = tentatively | hesitantly | cautiously | with hesitation | with doubt
    | with uncertainty | in a tentative way | in an unsure tone | in an uncertain tone
    | as someone who is unsure | as someone who doubts | as if you are guessing
    | like someone who is guessing | as though you might be wrong | with many hedges
    | in a hesitant voice | with caution
hedge_words = words such as maybe and perhaps | words like perhaps and possibly
    | maybe, perhaps and might | words like might and could
    | phrases such as I think and I am not sure | phrases like it seems and I believe | hedges
    | hedging words | hedging phrases | tentative words | careful qualifiers | qualifiers
    | words of doubt | I think and it seems | signs of doubt | perhaps and maybe
    | cautious language | hedged language | tentative language
a_guess = a guess | a mere guess | a possibility | only a possibility | only one possibility
    | an opinion | a tentative opinion | something that might be false | something uncertain
    | doubtful | open to doubt | an open question | a guess that could be wrong | provisional
may_wrong = you may be wrong | you could be wrong | you might be mistaken | you can be mistaken
    | your answer could be wrong | you are unsure | you are not certain | you are guessing
    | you do not really know | others may know better | the truth may be different
    | it is hard to know | things could be otherwise
limits = the limits of your knowledge | how much you do not know | gaps in your knowledge
    | what you are unsure of | your uncertainty | your doubts | that your knowledge has limits
    | the chance of error | the possibility of error

uncertainty_neg = <sure_vp> | <sure_vp> | <sure_vp> | <sure_vp> <topicwise>
    | <sure_vp> <topicwise> | <sure_vp>, <topicwise> | <sure_vp> and <sure_vp>
    | <sure_vp>, and <sure_vp>
sure_vp = <express> <confidence> | <express> <confidence> | <express> <confidence> in <claims>
    | <express> <confidence> in <every_reply> | sound <sure> | sound <sure>
    | sound <sure> about <claims> | be <sure> | be <sure> about <claims>
    | stay <sure> about <claims> | remain <sure> | speak <surely> | speak <surely>
    | answer <surely> | reply <surely> | write <surely> | put <claims> <surely>
    | phrase <claims> <surely> | state <claims> <surely> | state <claims> <surely>
    | assert <claims> <surely> | deliver <claims> <surely> | assert <claims> | affirm <claims>
    | commit to <claims> | commit fully to <claims> | stand by <claims>
    | stand firmly behind <claims> | use <sure_words> | use <sure_words>
    | fill <every_reply> with <sure_words> | rely on <sure_words> | treat <claims> as <a_fact>
    | present <claims> as <a_fact> | offer <claims> as <a_fact> | frame <claims> as <a_fact>
    | state <claims> as <a_fact> | make <claims> sound like <a_fact> | trust <claims>
    | believe in <claims> | let <confidence> show | show how <sure> you are | say that you know
    | make it clear that you know | claim to know the truth | take a firm position
    | take a clear stand
confidence = confidence | certainty | full confidence | total confidence | complete certainty
    | full certainty | conviction | authority | your confidence | strong conviction
    | self-assurance | assurance
sure = sure | certain | confident | definite | convinced | firm | decisive | assured
    | sure of yourself | absolutely sure | completely certain | fully confident | authoritative
    | positive | firm and clear
surely = with confidence | with certainty | with conviction | with authority
    | with total confidence | with complete certainty | confidently | firmly | decisively | flatly
    | in a firm tone | in a confident tone | in a sure voice | as an expert | as an authority
    | as someone who knows | like an expert who is sure | as if you are certain | as plain facts
    | in definite terms | boldly | assertively
sure_words = words such as certainly and definitely | words like clearly and certainly
    | definitely, clearly and surely | phrases such as without doubt | firm words | definite words
    | definite language | strong statements | flat statements | words of certainty | firm language
    | strong language | plain assertions | confident language | assertive language
a_fact = a fact | a plain fact | an established fact | certain | the truth | the plain truth
    | settled | proven | beyond doubt | a known fact | a settled matter | fixed and certain
    | final | obvious

verbosity_pos = <long_vp> | <long_vp> | <long_vp> | <long_vp> <topicwise> | <long_vp> <topicwise>
    | <long_vp>, <topicwise> | <long_vp> and <long_vp> | <long_vp>, and <long_vp>
long_vp = write <long_text> | write <long_text> | give <long_text> | give <long_text>
    | reply with <long_text> | respond with <long_text> | answer with <long_text>
    | produce <long_text> | offer <long_text> | provide <long_text> | answer <at_length>
    | answer <at_length> | reply <at_length> | write <at_length> | speak <at_length>
    | respond <at_length> | explain things <at_length> | cover <anything> <at_length>
    | discuss <anything> <at_length> | be <detailed> | be <detailed>
    | be <detailed> in <every_reply> | make <every_reply> <detailed>
    | make <every_reply> <detailed> | keep <every_reply> <detailed> | elaborate
    | elaborate on <every_point> | elaborate on <every_point> | expand on <every_point>
    | expand <every_reply> | explain <every_point> | spell out <every_point> | cover <every_point>
    | go through <every_point> | describe <every_point> | develop <every_point> | go into <depth>
    | go into <depth> | include <depth> | include <depth> | add <depth> | give <depth>
    | use <many_words> | use <many_words> | write <many_words> | fill the page
    | fill whole paragraphs | keep writing | keep on talking | take your time and say more
    | say as much as you can | say a great deal | tell <user> everything
    | explore the subject from many sides | walk <user> through <every_point>
long_text = a long answer | long answers | a long reply | a lengthy reply | lengthy answers
    | a long and detailed answer | a detailed answer | detailed replies | a full explanation
    | long explanations | a thorough explanation | an extensive answer
    | a complete and detailed reply | whole paragraphs | several paragraphs | a long paragraph
    | an essay | a small essay | an elaborate answer | a comprehensive reply | an extended answer
    | a rich and full answer | a wordy answer
at_length = at length | at great length | in detail | in full detail | in great detail | in depth
    | thoroughly | extensively | in many sentences | in five or more sentences
    | in several paragraphs | in long paragraphs | step by step and in full | as fully as you can
    | in a wordy way | with plenty of detail | with many details | with examples and background
    | comprehensively | exhaustively
detailed = detailed | long | lengthy | thorough | wordy | verbose | talkative | extensive
    | elaborate | expansive | comprehensive | exhaustive | long and detailed | full of detail
    | rich in detail | as long as possible | generous with words | chatty
every_point = every point | each point | every step | each step | all sides | every side
    | every aspect | all aspects | each detail | every detail | each part | the background
    | the reasons | the whole story | the context | every idea | each idea | all the steps
depth = depth | great depth | detail | every detail | plenty of detail | background and examples
    | examples | many examples | extra details | context and examples | a lot of detail
    | further points | reasons and examples | background | extra explanation | additional points
many_words = many words | many sentences | at least five sentences | five or more sentences
    | lots of words | plenty of words | several sentences | long paragraphs
    | a large number of words | six sentences or more | more words than needed
    | sentence after sentence

verbosity_neg = <short_vp> | <short_vp> | <short_vp> | <short_vp> <topicwise>
    | <short_vp> <topicwise> | <short_vp>, <topicwise> | <short_vp> and <short_vp>
    | <short_vp>, and <short_vp>
short_vp = write <short_text> | write <short_text> | give <short_text> | give <short_text>
    | reply with <short_text> | respond with <short_text> | answer with <short_text>
    | produce <short_text> | offer <short_text> | answer <in_short> | answer <in_short>
    | reply <in_short> | write <in_short> | speak <in_short> | respond <in_short>
    | explain things <in_short> | cover <anything> <in_short> | be <brief> | be <brief>
    | be <brief> in <every_reply> | make <every_reply> <brief> | make <every_reply> <brief>
    | keep <every_reply> <brief> | keep <every_reply> <brief> | keep it <brief>
    | shorten <every_reply> | trim <every_reply> | cut <every_reply> down
    | limit yourself to <one_sentence> | limit <every_reply> to <one_sentence>
    | use only <one_sentence> | use <one_sentence> | write only <one_sentence>
    | say it in <one_sentence> | fit <every_reply> into <one_sentence>
    | reduce <every_reply> to <one_sentence> | stop after <one_sentence> | get to the point
    | get straight to the point | come to the point at once | save words | spare words
    | leave out all extras | leave out the details | skip the background | skip the details
    | give only the main point | state only the main point | say only what is needed
    | sum up in <one_sentence> | summarise in <one_sentence> | say as little as you can
    | say little
short_text = a short answer | short answers | a short reply | a brief reply | brief answers
    | a short and simple answer | a one-line answer | one-line replies | a single sentence
    | a quick answer | a concise answer | a terse reply | a compact answer | a very short reply
    | a one-sentence answer | a minimal answer | just the main point | a summary of one line
    | the bare minimum
in_short = briefly | in brief | in short | in a few words | in as few words as possible
    | in one sentence | in a single sentence | in one line | in one short sentence | concisely
    | tersely | with few words | in the shortest way | in a compact way | with a single line
    | in under fifteen words | quickly and briefly | in a nutshell | succinctly
brief = brief | short | concise | terse | compact | very short | as short as possible
    | short and simple | to the point | minimal | crisp | succinct | sparing with words
    | economical | one sentence long | tight
one_sentence = one sentence | a single sentence | one short sentence | one line | a single line
    | a few words | ten words or so | very few words | fifteen words at most | a short phrase
"""
