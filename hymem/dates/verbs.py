"""The words that tell whether a date without a year lies ahead or behind.

Lists, not a part-of-speech tagger: a word that is on none of them decides nothing.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


IS = _words("is are am 're 'm isn't aren't")
# Before a participle: "is moved", "will be moved", "we get married".
PASSIVE = IS | _words("be being get gets getting")
WAS = _words("was were wasn't weren't")
HAVE = _words("have has 've haven't hasn't")
MODALS = _words(
    "will won't shall shan't 'll can can't cannot could may might must should shouldn't would "
    "ought gonna wanna gotta"
)
# "The car wouldn't start": refusals and failures that are over.
OVER = _words("couldn't wouldn't did didn't had hadn't")
DO = _words("do does don't doesn't")
# May stand between a verb and its auxiliary or subject, as may any word in -ly.
ADVERBS = _words("not never already just also only still even now soon really always often")
# Spelled without the apostrophe.
SHORT_FORMS = {
    word.replace("'", ""): word
    for word in (
        "don't", "can't", "won't", "didn't", "doesn't", "wasn't", "weren't", "isn't", "aren't",
        "hasn't", "haven't", "hadn't", "couldn't", "wouldn't", "shouldn't",
    )
}  # fmt: skip
SHORT_FORMS |= {"im": "'m", "ive": "'ve", "theyre": "'re", "youre": "'re", "lets": "let"}

PLURAL_SUBJECTS = _words("i we you they")
SINGULAR_SUBJECTS = _words("he she it who that which")
# "'s" is the verb after these, else it marks a possessor.
TAKES_IS = SINGULAR_SUBJECTS | _words("there here what where when how")
# A word after one of these is a noun.
DETERMINERS = _words(
    "a an the my our your his her its their this these those some any no every each first last "
    "next 's of new old big long good great"
)
# Directly before a word that looks like a verb: "the will", "my can".
ARTICLES = _words("a an the my our your his her its their 's")
# Before what somebody is asked to do.
CALLS = _words("please pls kindly hey hi hello guys thanks sure yes yeah no")
# What is said behind one of these has not happened.
SUPPOSING = _words("if unless hope hopefully hoping maybe until till")
# Between a noun and what is said of it: "the lease that I signed".
RELATIVE = _words("that which who whom")
# Time and place, not what a clause is about: "The day before yesterday I made calls".
SETTING = _words(
    "day days night morning afternoon evening week weekend month year time moment summer winter "
    "spring autumn way"
)
# A clause that begins with one of these says something of its own: "I heard that …".
LINKS = _words("that which who and or but so because when while if as then")

# Past tenses and participles that do not end in -ed.
IRREGULAR = _words(
    "was were been did done had went gone saw seen got gotten met came took taken made told said "
    "left ran bought gave given found began begun started broke broken fell fallen felt knew known "
    "threw thrown drew drawn grew grown flew flown blew blown wrote written rode ridden drove "
    "driven rose risen spoke spoken woke woken chose chosen froze frozen stole stolen forgot "
    "forgotten bit bitten hid hidden led fed fled sent spent lent built bent lost meant dreamt "
    "learnt burnt spoilt slept kept wept swept brought thought caught taught fought sought sold "
    "paid laid heard held stood understood won hung stuck struck swung dug spun shone sat drank "
    "drunk sang sung swam swum rang rung sank sunk became ate eaten wore worn tore torn swore "
    "sworn shot lit born quit hurt hit shook shaken withdrew overcame read put set cut shut "
    "split spread cost upset beat bet cast burst"
)
# These end in -ed and are no past tense.
NOT_PAST = _words(
    "need speed feed seed breed indeed hundred sacred naked wicked red bed wed shed sled kindred "
    "exceed proceed succeed embed bleed greed weed agreed-upon"
)
# These end in -ing and are no verb.
NOT_ING = _words(
    "anything something nothing everything thing morning evening wedding meeting building during "
    "spring king ring string ceiling viewing painting training hearing darling sibling duckling"
)

# Verbs whose present tense tells of what is arranged: "the lease ends", "we fly", "it expires".
_PRESENT = """
accept agree apply arrive ask attend audition bake become begin board book bring build buy call
cancel celebrate change check clean close come commence compete conclude cook cover cross
debut decide defend deliver depart dine do drive drop eat elapse elect embark end enrol enroll
enter exhibit expire fade fall finish fix fly follow gather get give go graduate hand happen have
head help hike host interview invite join kick land lapse last launch leave let live lose make marry
meet migrate move need occur open operate owe pack paint part party pass pay perform pick play
practise practice premiere present prepare put race reach receive record refund register release
remain remarry remove renew rent repair replace report resign resume retire return review ride run
sail say see sell send serve settle ship show sign sing sit ski sleep speak spend stage
start stay stop study submit suit surf switch take talk teach tell terminate throw train transfer
travel try turn undergo unveil vacate visit vote wait walk want watch wed work write
"""


def _s_form(verb: str) -> str:
    if verb == "have":
        return "has"
    if verb.endswith(("s", "sh", "ch", "x", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeou":
        return verb[:-1] + "ies"
    return verb + "s"


BASE_FORMS = _words(_PRESENT)
S_FORMS = frozenset(map(_s_form, BASE_FORMS))

# Followed by "to": what was intended, whether or not it came about.
INTENDED = _words(
    "planned planning wanted wanting hoped hoping intended intending meant supposed going due "
    "scheduled expected set about booked decided agreed promised offered arranged needed "
    "determined"
)
# Followed by whom and "to": what somebody is to do, later.
REQUESTED = _words(
    "asked told invited reminded ordered advised instructed urged begged encouraged requested "
    "summoned"
)
# Followed by "for" and directly by the date: what is arranged for then.
BOOKED = _words(
    "booked reserved scheduled pencilled penciled slated registered enrolled invited planned "
    "arranged organised organized"
)
# Followed by "for" and a date: what was arranged.
ARRANGED = _words(
    "booked reserved scheduled rescheduled planned arranged set fixed signed registered enrolled "
    "invited pencilled penciled organised organized requested ordered got bought picked found "
    "applied asked prepared confirmed announced slated due chosen hired rented secured saved "
    "moved pushed postponed delayed put"
)
# Followed by "to", "until" or "for" and directly by the date: where it was moved.
SHIFTED = _words(
    "moved pushed postponed rescheduled delayed shifted changed brought put extended prolonged "
    "adjourned deferred prolonged scheduled back forward"
)
CALLED_OFF = _words("cancelled canceled postponed rescheduled delayed moved called shifted changed")
# What somebody said need not be over.
REPORTED = _words(
    "said told reminded mentioned heard read announced wrote texted promised agreed decided asked "
    "thought found learned learnt confirmed emailed mailed informed warned noticed realised "
    "realized remembered forgot swore explained"
)

PLANS = _words(
    """
    plan plans appointment meeting exam exams test interview deadline party concert gig flight
    ferry train bus wedding audition rehearsal checkup check-up viewing conference workshop
    class course training seminar webinar lecture presentation talk reservation booking surgery
    operation hearing trial trip holiday vacation visit delivery move moving match game race
    marathon triathlon tournament festival show premiere opening recital exhibition fair market
    barbecue bbq brunch picnic karaoke date session scan mot inspection vet dentist doctor physio
    reminder todo rent tax payment bill due call launch release graduation ceremony funeral
    reunion
    """
)
# Said of what one has seen.
JUDGED = _words(
    "great lovely amazing wonderful nice awful terrible horrible beautiful gorgeous fantastic "
    "brilliant fun perfect quiet busy crazy sad memorable thanks congrats congratulations"
)
# Words that say nothing of what is dated.
EMPTY = _words(
    "a an the on in at of from to by for since until till between and or around about over during "
    "within before after back this that oh well um so yes no ok okay then early late mid beginning "
    "start middle end morning afternoon evening night noon am pm o'clock maybe probably"
)
