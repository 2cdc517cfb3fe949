"""Rules for the sentences of the answers: statements, hedges and refusals.

`phrases.py` explains the notation.
"""

__all__ = ["ANSWER_RULES"]

ANSWER_RULES = """
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
