"""Plots about being lost: a thing that cannot be found, and a child in a crowd."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, columns, records, words

LOST = """
    {opening}
    ? {loves}
    {He} had a {toy.look} {toy} that {he} loved very much.
    | {His} favorite thing was a {toy.look} {toy}.
    | {He} had many toys, but {he} loved {his} {toy.look} {toy} the most.
    ? {He} took it everywhere.
    | {He} always kept it close to {him}.

    {one_day} could not find {his} {toy}.
    | {one_day} wanted to play with {his} {toy}, but it was [gone|not there|not in its place].
    | {one_day} looked for {his} {toy}, but it was gone.
    {sad}
    ? "Where is my {toy}?" {he} [asked|said|cried].
"""
LOST_HELP = """
    "Help!" said {hero}. "[I cannot find my {toy}|I lost my {toy}|My {toy} is gone]!"
    {Hero} was a little {hero.kind} who [loved|liked] to {hero.loves}. {He} had a {toy.look} {toy}, and it was {his} \
    favorite [thing|toy]. But today it was not in its place.
"""
KEEPSAKES = columns(
    "name; look",
    """
    teddy bear; [soft|brown|little]
    ball; [red|blue|yellow|bouncy]
    doll; [pretty|little|soft]
    hat; [red|warm|funny|blue]
    toy car; [red|fast|shiny]
    blanket; [soft|warm|blue]
    ring; [shiny|pretty|golden]
    scarf; [long|warm|red]
    whistle; [shiny|loud|little]
    puppet; [funny|soft|silly]
    toy train; [green|little|long]
    marble; [blue|shiny|round]
    ribbon; [pink|yellow|pretty]
    bell; [shiny|little|golden]
    toy boat; [white|little|blue]
    toy rabbit; [white|soft|fluffy]
    toy horse; [brown|little|white]
    toy dinosaur; [green|funny|big]
    shell; [pink|pretty|white]
    toy robot; [shiny|little|funny]
    yo-yo; [red|blue|green]
    picture book; [big|funny|pretty]
    toy duck; [yellow|little]
    """,
)
SPOTS_TO_LOOK = words(
    "under the bed, behind the door, in the toy box, in the closet, under the pillow, behind the curtain, "
    "on the shelf, under the chair, in the kitchen, in {his} bag, on the table, under the rug, in the bathroom"
)
SPOTS_TO_FIND = columns(
    "name; doing",
    """
    under the apple tree; had a rest under the apple tree
    in the sandbox; dug a big hole in the sandbox
    next to the swing; played on the swing
    on the bench by the pond; fed the ducks by the pond
    in the car; came home in the car
    behind the sofa; played hide and seek behind the sofa
    in the tree house; sat in the tree house
    on the stairs; sat on the stairs
    by the garden gate; waited by the garden gate
    under a pile of leaves; jumped into a pile of leaves
    by the doghouse; played with the dog by the doghouse
    in the flowers; picked flowers in the garden
    """,
)
SEARCH = """
    {He} looked {spot1}, but it was not there.
    | {He} looked {spot1}. No {toy}!
    | First, {he} looked {spot1}. There was only an old [sock|shoe|spoon|pencil] there.
    Then {he} looked {spot2}. It was not there either.
    | {He} looked {spot2}, but {he} did not see it.
    ? {He} looked and looked, but {he} could not find it anywhere.
"""
FOUND_BY_THINKING = """
    {asks}
    | {Hero} went to {helper} for help.
    "[I cannot find my {toy}|I lost my {toy}|My {toy} is gone]," said {hero}.
    ? {Helper} gave {him} a [big|warm] hug.
    "[Think hard|Think about it|Let us think]. [Where did you play yesterday|Where were you yesterday]?" asked {helper}.
    {Hero} [thought and thought|closed {his} eyes and thought]. Then {he} remembered! Yesterday, {he} {found.doing}.
    {He} ran to look, and there it was! The {toy} was {found}.
    | {He} ran [there|to look] as fast as {he} could. There it was, {found}!
    | They went to look together. "I see it! I see it!" {hero} shouted. The {toy} was {found}.
"""
FOUND_BY_PET = """
    ? {asks} "I lost my {toy}," said {hero}. "I will help you look," said {helper}.
    Just then, {hero} heard a [funny|little|soft] [sound|noise]. It came from the yard.
    | Then {hero} saw the {pet}. It had something in its mouth!
    {He} went to look. The little {pet} was lying {bed}, and under its nose was the {toy}!
    | {He} followed it outside. The {pet} sat down {bed} and put the {toy} on the ground.
    ? "You silly {pet}! You took my {toy}!" {hero} laughed.
    | "So you were the one who took it!" said {hero}, and {he} laughed.
    ? The {pet} only wanted to play too. So {hero} found an old ball and gave it to the {pet}.
"""
LOST_END = """
    {Hero} held {his} {toy} tight and did not want to let it go.
    | {Hero} ran to {helper} and showed {helper.him} the {toy}. {Helper} smiled.
    | {happy}
    ? {thanks}
    After that, {hero} always put {his} {toy} back in its place.
    | From that day on, {hero} took good care of {his} {toy}.
    | {Hero} learned to put {his} things away[ when {he} was done playing|].
"""


def lost_thing(t: Teller) -> str:
    people.child(t)
    people.family(t)
    t.cast_from(toy=KEEPSAKES, found=SPOTS_TO_FIND, spot1=SPOTS_TO_LOOK, spot2=SPOTS_TO_LOOK)
    t.cast_from(pet=words("puppy, kitten"), bed=words("under a tree, in the grass, by the gate, in the sun"))
    start = LOST_HELP if people.cries_for_help(t, 0.15) else LOST
    return start + SEARCH + t.pick((FOUND_BY_THINKING, FOUND_BY_THINKING, FOUND_BY_PET)) + LOST_END


CROWDS = records(
    """
    name: the market
    stop: a stand with shiny apples
    person: the woman who sold the apples
    the: the woman
    he: she
    does: shouted, "Who has lost a little {hero.kind}?" until everyone looked

    name: the zoo
    stop: the baby monkeys
    person: the man who fed the monkeys
    the: the man
    he: he
    does: took {him} to the gate, where everyone had to come by

    name: the fair
    stop: a clown with big shoes
    person: the clown
    the: the clown
    he: he
    does: lifted {him} up high, so that everyone could see {him}

    name: the train station
    stop: a big black train
    person: a woman in a blue coat
    the: the woman
    he: she
    does: spoke into a box, and everyone in the station could hear {his} name

    name: the beach
    stop: a crab that walked to the side
    person: a old man with a red boat
    the: the old man
    he: he
    does: blew his horn, and all the people looked up

    name: the big store
    stop: a tall tower of toys
    person: a woman who worked there
    the: the woman
    he: she
    does: said {his} name into the speaker, and it sounded through the whole store

    name: the library
    stop: a book about lions
    person: the woman who looked after the books
    the: the woman
    he: she
    does: walked with {him} from room to room and looked behind every shelf
    """
)
CROWD = """
    {opening}
    ? {loves}
    {He} liked to go out with {helper}.
    | {He} and {helper} often went out together.

    {one_day} went to {crowd} with {helper}. There were so many people!
    | {one_day} was at {crowd} with {helper}. It was loud, and there were people everywhere.
    ? "Hold my hand," said {helper}.
    Then {hero} saw {crowd.stop}. {He} [let go of {helper.his} hand|stopped] to look. [It was so interesting.|]
    When {he} turned around, {helper} was gone. {Hero} was all alone.
    | When {he} looked up again, {he} could not see {helper} anymore.
"""
CROWD_HELP = """
    "Help!" said {hero}. "[I am lost|I cannot find my {helper.word}]!"
    {Hero} was a little {hero.kind} who had come to {crowd} with {helper}. {He} had stopped for a moment to look at \
    {crowd.stop}. And when {he} turned around, {helper} was gone.
"""


def lost_in_crowd(t: Teller) -> str:
    people.child(t)
    people.family(t)
    t.cast_from(crowd=CROWDS)
    return (
        (CROWD_HELP if people.cries_for_help(t, 0.2) else CROWD)
        + """
    ? {Hero} wanted to run, but {he} stopped.
    Then {he} remembered what {helper} always said. "If you get lost, ask somebody for help."
    | "If you are lost, ask somebody for help," {helper} had told {him}.
    {Hero} saw {crowd.person}. "Please help me," {he} said. "I cannot find my {helper.word}."
    | {Hero} went to {crowd.person} and said, "My name is {hero}, and I am lost."
    "[Do not worry|Do not be afraid]," said {crowd.the}. Then {crowd.he} {crowd.does}.

    Soon {hero} heard a voice. "{hero}! There you are!" It was {helper}!
    | And there came {helper}, running and calling {his} name.
    {Hero} ran into {helper.his} arms. [They held each other tight.|]
    ? "I was so worried," said {helper}.
    ? "I am sorry that I let go of your hand," said {hero}.
    | "I did not run away. I asked for help," said {hero}. "That was very smart," said {helper}.
    ? They thanked {crowd.the} and went home, hand in hand.
    | "Thank you!" they both said to {crowd.the}.
    From that day on, {hero} always stayed close to {helper}.
    | {Hero} learned to stay calm and ask for help.
    ? {good_night}
    """
    )
