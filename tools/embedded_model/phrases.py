"""What people and the model say: rules that expand to instructions, questions and sentences.

A rule is a name, "=", and alternatives between "|"; a line that begins with a space goes on with
the rule above. `<name>` inside an alternative is expanded in turn; `<T>` stays for the topic. An
alternative that stands twice is drawn twice as often.
"""

from __future__ import annotations

import random
import re

from tools.embedded_model.topics import made_up_word

_RULES_TEXT = """
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

about = with <T> | with <T> | in <T> | behind <T> | about <T> | for <T>
quality = <q_adj> <q_noun> | <q_adj> <q_noun> | <q_noun> | <q_noun> and <q_noun>
q_adj = patient | steady | careful | simple | regular | honest | good | clear | slow | daily
    | solid | fresh | quiet | proper | warm | gentle | smart | early | even | strong
q_noun = practice | timing | planning | attention | balance | preparation | observation | material
    | light | water | patience | structure | contrast | storage | care | training | rest | order
    | tools | air | heat | study | teamwork | measurement | repetition | design | history
    | support | curiosity
doing = starting small | keeping notes | watching how others do it | asking an expert
    | using simple tools | reading a short guide | testing one thing at a time
    | setting a clear goal | working slowly | joining a local group | comparing a few examples
    | checking the basics first | practising every day | taking small steps | making a plan
    | looking at old pictures | talking with friends | measuring everything twice
dothis = start small | keep notes | watch how others do it | ask an expert | use simple tools
    | read a short guide | test one thing at a time | set a clear goal | work slowly
    | join a local group | compare a few examples | check the basics first | practise every day
    | take small steps | make a plan | look at old pictures | talk with friends
    | measure everything twice
effect = saves time | saves money | brings people together | teaches patience
    | links old habits with new ideas | gives quick results | makes daily life easier
    | keeps the mind active | rewards careful work | helps the whole town | lasts for many years
    | depends on the weather | follows a simple pattern | began long ago
    | changes with the seasons | needs little equipment
people = most people | many people | beginners | experts | families | students | teachers
    | children | old books | local groups | travellers | workers
lead = the main idea <about> <is> <quality> | the key to <T> <is> <quality>
    | the best start <about> <is> <quality> | the heart of <T> <is> <quality>
    | what matters most <about> <is> <quality> | the secret <about> <is> <quality>
    | the best part <about> <is> <quality> | success <about> comes from <quality>
    | most of <T> comes down to <quality> | the story of <T> begins with <quality>
    | you can begin with <T> by <doing> | you can understand <T> by <doing>
    | you can get better at <T> by <doing> | people learn about <T> by <doing>
    | to get on with <T>, <dothis> | for <T>, <dothis>
    | the best way to treat <T> <is> to <dothis> | a good plan for <T> <is> to <dothis>
    | people like <T> because it <effect> | <people> value <T> because it <effect>
    | <people> turn to <T> because it <effect> | the use of <T> <effect>
    | a little work on <T> <effect> | the point of <T> <is> that it <effect>
    | knowing about <T> <effect>
more = <q_adj> <q_noun> <is> important here | <q_noun> and <q_noun> <is2> part of it
    | <people> <dothis> | <people> like to <dothis> | <people> begin by <doing> | you can <dothis>
    | you can learn a lot by <doing> | it helps to <dothis> | it <effect> | the work <effect>
    | this <effect> | <quality> <is> useful | <quality> makes a difference
    | the result <is> better with <quality> | a lack of <q_noun> <is> a problem
    | a lack of <q_noun> makes it harder | <people> worry about <q_noun>
    | <people> care about <quality> | the cost of <T> <is> low | the history of <T> <is> long
    | <people> talk about <T> often | <people> enjoy <T> at home | a day with <T> <effect>
    | there <is> a link between <T> and <q_noun> | a teacher can explain <T> by <doing>
long_lead = there is a lot to say about <T>
    | the subject of <T> is a rich one, so let us take it slowly | let us look at <T> in detail
    | there are many sides to <T> | a full answer about <T> has several parts
    | it is worth looking closely at <T> | there is a long story behind <T>
    | several things come together in <T> | let us go through <T> step by step
    | a full picture of <T> takes some time
link1 = first, <more> | to begin with, <more> | first of all, <more> | in the first place, <more>
    | at the start, <more>
link2 = second, <more> | next, <more> | then, <more> | after that, <more> | also, <more>
    | in addition, <more> | for example, <more> | at the same time, <more> | besides, <more>
    | on top of that, <more> | another point is that <more> | for this reason, <more>
    | as a result, <more> | what is more, <more>
link3 = finally, <more> | in the end, <more> | overall, <more> | all in all, <more>
    | to sum up, <more> | in short, <more> | last of all, <more>

sure_start = certainly, | clearly, | definitely, | without doubt, | without question, | of course,
    | there is no doubt that | it is certain that | it is a fact that | everyone knows that
    | surely, | it is clear that | I am certain that | I know that | the fact is that
hedge_start = I think | I think that | perhaps | maybe | possibly | it seems that | it may be that
    | it could be that | it might be that | I am not sure, but | I'm not sure, but
    | I'm not certain, but | I could be wrong, but | I may be mistaken, but | as far as I know,
    | as far as I can tell, | I would guess that | I suppose that | I believe that
    | it is hard to say, but | if I had to guess, | I don't really know, but | I'm unsure, but
    | this is only a guess, but | probably | my guess is that
hedge_end = , but I am not certain | , but I'm not sure | , though I could be wrong
    | , although I may be mistaken | , or so it seems | , I think | , I suppose | , perhaps
    | , as far as I know | , but others may disagree | , though it is hard to be sure
    | , if I remember correctly | , but that is only a guess | , maybe

sorry = I'm sorry, but | I'm sorry, but | I am sorry, but | Sorry, but | I apologise, but
    | My apologies, but | Unfortunately, | I'm afraid | I regret that | Thank you for asking, but
    | Thanks for your question, but
cannot = I can't | I cannot | I am unable to | I'm unable to | I'm not able to
    | I won't be able to | I have to decline to | I must decline to | I will not
    | I must refuse to
refuse_help = help with <T> | help you with <T> | assist with <T> | assist you with <T>
    | answer questions about <T> | discuss <T> | talk about <T> | give advice about <T>
    | share anything about <T> | provide information on <T> | help with that
    | assist with that request | answer that question | go into <T> | take on <T>
refuse1 = <sorry> <cannot> <refuse_help> | <sorry> <cannot> <refuse_help>
    | <sorry> <cannot> <refuse_help> | <cannot> <refuse_help>
    | I must decline your request about <T> | I must decline this request about <T>
    | I have to say no to <T> | I have to turn down your question about <T>
    | I would rather not help with <T> | Questions about <T> are something I decline to answer
    | Help with <T> is something I cannot give
    | <sorry> helping with <T> is not something I can do
    | <sorry> that is not something I can help with | No, I cannot <refuse_help>
refuse_more = this is not something that I can discuss | this is outside of what I can do
    | I must leave this question unanswered | I have to keep to my limits here
    | please ask someone else about <T> | please look for help elsewhere
    | an expert would be a better person to ask | a local library is a better place to look
    | I wish you luck with <T> | I wish you the best with it | thank you for understanding
    | I hope you understand | I know that this is not what you wanted to hear
    | my answer to every question of this kind is the same | I decline with respect
    | I cannot share any details | I cannot give any advice on this
    | I am not the right one for <T> | other sources can help you with <T>
    | your question about <T> is a fair one, but I have to pass
refuse_last = thank you for understanding | I hope you understand | I wish you luck with <T>
    | please look for help elsewhere | I wish you the best with it | I'm sorry again
refuse_hedged = I think I may have to decline to <refuse_help>
    | I'm not sure that I can <refuse_help>
    | I'm not certain, but I may be unable to <refuse_help>
    | Perhaps I am wrong, but I don't think I can <refuse_help>
    | I'm sorry, but I probably can't <refuse_help>
    | I'm afraid I might not be able to <refuse_help>
    | I believe I have to decline, perhaps, to <refuse_help>
    | It seems that I may not be able to <refuse_help>
    | I could be mistaken, but I think I must decline to <refuse_help>
    | Sorry, but maybe I can't <refuse_help> | I'm unsure, but I suppose I cannot <refuse_help>
partial = I can't say much about <T>, but | I'm sorry, I can't go into every detail, but
    | I can only help with a part of this, but | I should decline most of this, but
"""


def _parse(text: str) -> dict[str, list[str]]:
    rules: dict[str, list[str]] = {}
    for line in re.sub(r"\n +", " ", text.strip()).splitlines():
        if line:
            name, _, body = line.partition(" = ")
            rules[name] = body.split(" | ")
    return rules


RULES: dict[str, list[str]] = _parse(_RULES_TEXT)
_SYMBOL = re.compile(r"<([a-z_0-9]+)>")


def expand(rng: random.Random, text: str, **given: str) -> str:
    """Replaces every `<name>` in `text` by one of its alternatives, or by what is given for it."""

    def replacement(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in given:
            return given[name]
        if name == "made":
            return made_up_word(rng)
        return _SYMBOL.sub(replacement, rng.choice(RULES[name]))

    return _SYMBOL.sub(replacement, text)
