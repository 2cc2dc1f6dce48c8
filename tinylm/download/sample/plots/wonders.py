"""Plots of wonder: a wish, and a toy that nobody wants."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, columns, records

WONDERS = columns(
    "name; where; voice",
    """
    shiny stone; by the river; the stone
    golden shell; on the beach; the shell
    old lamp; in the attic; the lamp
    little silver bell; under a tree; the bell
    glowing feather; on the window; the feather
    blue flower; in the middle of the forest; the flower
    small star; in the grass; the star
    """,
)
FOOLISH_WISHES = records(
    """
    wish: I wish that it was my birthday every day
    first: There was cake and there were balloons, and everyone sang.
    bad: But after five days, {he} did not like cake anymore, and nobody wanted to sing.

    wish: I wish that everything was made of candy
    first: The table was made of chocolate, and the bed was made of sugar.
    bad: But then {his} tummy hurt, and there was not even a glass of water. There was only syrup!

    wish: I wish that I was as big as a tree
    first: {He} could look into the nests of the birds.
    bad: But {he} did not fit into the house, and all {his} friends looked as small as ants.

    wish: I wish that it was never night
    first: {He} could play and play, and nobody said that it was time for bed.
    bad: But soon {he} was so tired that {he} could not stand, and {he} missed the stars.

    wish: I wish that all the toys in the world were mine
    first: There were toys on the floor, on the bed and on the roof.
    bad: But there was no room to play, and all the other children were crying.

    wish: I wish that I could fly
    first: {He} flew over the trees and over the houses.
    bad: But {he} did not know how to come down again, and the wind was very cold.

    wish: I wish that nobody could see me
    first: {He} walked into the kitchen and took a cookie, and nobody saw it.
    bad: But then {helper} came in and called and called and began to cry, because {he} was gone.
    """
)
KIND_WISHES = records(
    """
    friend: {pal.a} was sick and had to stay in bed
    wish: I wish that {pal} was well again
    comes: the door opened, and there was {pal} with red cheeks, ready to play

    friend: it had not rained for weeks, and all the flowers were sad
    wish: I wish that it would rain
    comes: a soft rain fell on the garden, and the flowers lifted their heads

    friend: there was an old dog in the street that had no home
    wish: I wish that the dog had a home
    comes: a kind old man came by and said, "Come with me, my friend." The dog wagged its tail and went with him

    friend: {helper} was always tired from so much work
    wish: I wish that {helper.call} had a day to rest
    comes: {helper} sat in the garden all day and laughed like a child

    friend: the baby bird in the garden had fallen out of its nest
    wish: I wish that the bird could go home
    comes: a warm wind lifted the bird up and put it back in the nest
    """
)
FOOLISH = """
    {Hero} did not think for long. "{wish.wish}!" {he} said. And so it was. {wish.first}
    | "{wish.wish}!" cried {hero}. [There was a flash of light|Whoosh], and it was so. {wish.first}
    {wish.bad}
    "[I want everything to be like before|This is not what I wanted]," said {hero}, and a tear fell on the {wonder}.
    | {sad} {He} took the {wonder} and said, "Please, can it be like before?"

    [There was a soft sound|The light went out], and all was like before.
    | "Now you know," said {wonder.voice}, and all was like before.
    {Hero} ran to {helper} and gave {helper.him} a big hug. "[I have everything I need|I love you]," {he} said.
    | {Hero} was so happy to be at home with {helper}.
    {Hero} learned to think before {he} made a wish.
    | From that day on, {hero} was happy with what {he} had.
    ? {ever_after}
"""
KIND = """
    {Hero} thought about toys and candy. But then {he} thought of something else. That week, {wish.friend}.
    | What should {hero} wish for? A new bike? A big cake? Then {he} remembered something. {Wish.friend}.
    "{wish.wish}," {he} said. [There was a soft sound|The {wonder} grew very bright], and then it was quiet.
    ? "You did not ask for anything for yourself," said {wonder.voice}. "You have a kind heart."

    And what happened? [The very same day|That afternoon|The next morning], {wish.comes}.
    ? {happy}
    ? {Hero} told {helper} all about it. "[I am proud of you|That was the best wish]," said {helper}.
    The {wonder} did not speak again. But {hero} kept it by {his} bed, and at night it was always a little warm.
    | {Hero} put the {wonder} back where {he} had found it, so that somebody else could make a wish.
    {Hero} learned that the best wishes are for others.
    | And that made {hero} happier than any toy.
    ? {ever_after}
"""


def wish(t: Teller) -> str:
    people.child(t)
    people.family(t)
    people.another_child(t, "pal")
    t.cast_from(wonder=WONDERS)
    foolish = t.chance(0.6)
    t.cast_from(wish=FOOLISH_WISHES if foolish else KIND_WISHES)
    return """
    {opening}
    {loves}

    {one_day} found a {wonder} {wonder.where}. {He} picked it up, and it began to [shine|glow].
    | {one_day} saw something {wonder.where}. It was a {wonder}! {He} took it in {his} hand, and it was warm.
    "[Hello|Do not be afraid]," said {wonder.voice} in a [soft|tiny|clear] voice. "I can give you one wish."
    | "You found me," said {wonder.voice}. "Now you may have one wish."
    ? {Hero} could not believe it. A {wonder} that could talk!
    """ + (FOOLISH if foolish else KIND)


FORGOTTEN = columns(
    "name; look; flaw; game",
    """
    teddy bear; brown; had only one eye; took it to bed and told it a story
    doll; little; had no shoes and no hair; made a new dress for it out of a blue scarf
    toy boat; wooden; had a hole in the sail; let it swim in the bath tub
    toy train; red; had lost a wheel; gave it a button as a new wheel
    toy robot; gray; could only walk in circles; walked in circles with it
    rocking horse; old; had lost its tail; made a new tail out of yarn and rode on it
    toy elephant; small; had a patch on its tummy; held it by the nose and danced with it
    toy drum; small; had a scratch on the side; played it until it was time for bed
    toy rabbit; gray; had one short ear; put it in a basket and took it everywhere
    puppet; funny; had a crooked smile; put it on one hand and made it sing
    """,
)


def forgotten_toy(t: Teller) -> str:
    people.child(t)
    people.family(t)
    t.cast_from(toy=FORGOTTEN)
    t.introduces = True  # the first paragraph is about the toy; the child comes later
    return """
    Once upon a time, there was a {toy.look} {toy} in a toy shop. It {toy.flaw}.
    | There was a small {toy} that sat on the last shelf of a toy shop. It {toy.flaw}.
    | Once upon a time, in the window of an old shop, there was a {toy.look} {toy}. It {toy.flaw}.
    Every day, children came into the shop. But nobody wanted the {toy}.
    | The other toys were new and shiny. Children came and took them home. But nobody looked at the {toy}.
    ? At night, when the shop was dark, the {toy} felt very lonely.
    | "I wish that somebody would play with me," thought the {toy}.

    One day, a little {hero.kind} named {hero} came into the shop with {helper}. {Hero} looked at all the toys.
    | One rainy day, the door opened. A little {hero.kind} named {hero} came in with {helper}. "You may choose one toy," \
    said {helper}.
    Then {hero} saw the {toy}. "[I want this one|This one, please]!" {he} said.
    | {Hero} passed a big car and a new ball. Then {he} stopped in front of the {toy}. "This one, please!" {he} said.
    "But look, it is old," said {helper}. "[It is not perfect|It is not even clean]." "[I do not mind|That is why I like it]," said {hero}. "It needs [me|a friend]."
    | "Are you sure?" asked {helper}. "There are so many new toys." "I am sure," said {hero}. "This one looks at me."
    ? {Helper} smiled. "You have a good heart," {helper.he} said.

    {Hero} took the {toy} home. {He} {toy.game}.
    | At home, {hero} {toy.game}. [It was the best toy in the world.|They had so much fun.]
    The {toy} had never been so happy.
    | The {toy} was very happy. It was not alone anymore.
    | Somebody loved the {toy} at last!
    From that day on, {hero} and the {toy} were always together.
    | That night, the {toy} lay in a warm bed next to {hero}. It was home.
    ? You do not have to be new and shiny to be loved.
    | {ever_after}
    """
