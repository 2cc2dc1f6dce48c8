"""Plots about what goes wrong: a toy that breaks, and a mistake that is told honestly."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, records

TREASURED = records(
    """
    name: kite
    look: [red|blue|long|big]
    play: fly it
    played: flew it high in the sky
    oops: the wind blew the kite into a tree, and it tore
    sorry: There was a big hole in the middle.
    plan: We can put some tape and paper on the hole
    fixing: put paper over the hole and used a lot of tape
    again: the kite flew up, up, up in the sky

    name: doll
    look: [pretty|little|soft]
    play: play with it
    played: made a little bed for it
    oops: the arm of the doll came off
    sorry: The doll had only one arm now.
    plan: I have a needle and some thread
    fixing: sewed the arm back on, one little stitch at a time
    again: the doll could wave with both arms again

    name: toy truck
    look: [red|big|yellow]
    play: push it
    played: pushed it over the hills in the sandbox
    oops: the truck hit a rock and a wheel fell off
    sorry: Now the truck could not roll.
    plan: All we need is a new screw
    fixing: put the wheel back and turned the screw
    again: the truck rolled across the room again

    name: toy boat
    look: [white|little|blue]
    play: let it swim
    played: let it swim in the pond
    oops: the boat hit a stone and the sail broke
    sorry: The boat lay on its side in the water.
    plan: We can make a new sail
    fixing: cut a new sail from an old shirt and tied it to a stick
    again: the boat sailed across the pond again

    name: drum
    look: [big|red|loud]
    play: play it
    played: played boom, boom, boom all day
    oops: {hero} hit the drum too hard and made a hole in it
    sorry: It did not go boom anymore.
    plan: We can use a piece of thick paper
    fixing: put thick paper over the top and tied it with a string
    again: the drum went boom, boom, boom again

    name: toy train
    look: [green|long|little]
    play: play with it
    played: drove it around and around
    oops: {hero} stepped on the train and it broke in two
    sorry: The train did not go choo-choo anymore.
    plan: A little glue will help
    fixing: put glue on both parts and held them together for a long time
    again: the train rolled around the room again

    name: teddy bear
    look: [soft|brown|old]
    play: hug it
    played: took it to bed every night
    oops: the ear of the teddy bear got caught in the door and came off
    sorry: The teddy bear looked very sad with one ear.
    plan: I can sew it, and you can hold it still
    fixing: sewed the ear back on while {hero} held the teddy bear
    again: the teddy bear had two ears and looked as good as new

    name: wagon
    look: [red|big|little]
    play: pull it
    played: pulled it up and down the street
    oops: the wagon was too full, and the handle broke
    sorry: Now nobody could pull it.
    plan: We can make a new handle from this rope
    fixing: tied a strong rope to the front of the wagon
    again: {hero} could pull the wagon up the hill and down the hill

    name: doll house
    look: [pretty|big|pink]
    play: play with it
    played: put all the little dolls to bed in it
    oops: {hero} leaned on it, and the roof broke
    sorry: Now it would rain on all the dolls.
    plan: We need some glue and a piece of wood
    fixing: cut a new roof and glued it on
    again: the doll house had a roof again

    name: toy robot
    look: [shiny|little|funny]
    play: make it walk
    played: made it walk across the floor
    oops: the robot fell down the stairs and stopped walking
    sorry: It did not move and it did not beep.
    plan: Maybe a part is loose
    fixing: opened the back, found the loose part, and put it in its place
    again: the robot walked and beeped again
    """
)


def broken_thing(t: Teller) -> str:
    people.child(t)
    people.family(t)
    t.cast_from(toy=TREASURED)
    return """
    {opening}
    {He} had a {toy.look} {toy}. [{He} loved to {toy.play}.|Every day, {he} {toy.played}.]
    | {His} favorite toy was a {toy.look} {toy}. [{He} loved to {toy.play}.|{He} {toy.played}.]
    | {Helper} gave {him} a {toy.look} {toy}. {Hero} loved it very much.

    {one_day} was playing with {his} {toy}. [But then|Suddenly], {toy.oops}.
    | {one_day} wanted to play with {his} {toy}. {He} was having fun, but then {toy.oops}.
    ? "Oh no!" {he} [cried|said].
    {toy.sorry} {sad}
    ? {He} tried to fix it alone, but it was too hard.

    {Hero} [went|ran] to {helper} and showed {helper.him} the {toy}. "[Can you fix it|Can you help me|Is it broken forever]?" {he} asked.
    | {asks} "My {toy} is broken," said {hero}.
    {Helper} looked at it. "{toy.plan}," {helper.he} said. "[Do you want to help?|Let us do it together.|You can help me.]"
    | "Do not be sad," said {helper}. "[We can fix it|I think we can fix it]. {toy.plan}."
    They went to work, and {helper} {toy.fixing}.
    | So {helper} {toy.fixing}.
    ? {Hero} watched and helped. {He} was very careful.
    | It was slow work, but {hero} waited.

    [Soon|At last|When they were done], {toy.again}.
    {happy} {thanks}
    | "It works! It works!" {hero} [shouted|cried], and gave {helper} a big hug.
    ? "You are a good helper," said {helper}.
    | {Helper} smiled. "When something breaks, we can try to fix it," {helper.he} said.
    From then on, {hero} was [very |more |]careful with {his} {toy}.
    | {Hero} learned that many broken things can be fixed.
    | {Hero} loved the {toy} even more than before.
    ? {good_night}
    """


MISTAKES = records(
    """
    name: broke your vase
    does: threw {his} ball in the living room. The ball hit a blue vase, and the vase broke
    hide: pushed the pieces under the rug
    sees: Where is my blue vase?
    mend: They picked up the pieces together and put the flowers in a glass.
    rule: play ball outside

    name: painted on the wall
    does: wanted to paint, but there was no paper. So {he} painted a big cat on the wall
    hide: put a chair in front of the wall
    sees: Why is the chair in front of the wall?
    mend: They took water and soap and washed the wall together.
    rule: ask for paper

    name: ate the cake
    does: saw a cake in the kitchen. {He} only wanted to taste it, but then half of the cake was gone
    hide: put a plate over the cake
    sees: Who ate the cake for the party?
    mend: They made a new cake together, and {hero} stirred until {his} arms were tired.
    rule: ask first

    name: broke your cup
    does: took the big cup from the shelf. It was heavy, and it fell on the floor and broke
    hide: put the pieces in a shoe
    sees: Have you seen my cup?
    mend: They used strong glue, and the cup looked almost like before.
    rule: ask for help with heavy things

    name: lost your key
    does: took the key of {helper} to play with it. But the key fell into the tall grass
    hide: ran into the house and said nothing
    sees: I cannot find my key. Where can it be?
    mend: They looked in the grass together until they saw something shiny. It was the key!
    rule: play with toys and not with keys

    name: cut the curtain
    does: found the big scissors. Snip, snip, snip! Now there was a hole in the curtain
    hide: sat down in front of the hole
    sees: Why do you sit there so still?
    mend: They sewed a piece of red cloth over the hole. It looked like a heart.
    rule: cut only paper

    name: left the gate open
    does: ran out to play and left the gate open. The dog saw it and ran away
    hide: closed the gate and said nothing
    sees: Where is our dog?
    mend: They went out and called and called, and at last the dog came running down the street.
    rule: close the gate

    name: spilled juice on your book
    does: drank juice next to a book. The glass fell over, and the book got all wet
    hide: put the book under the bed
    sees: Where is my book?
    mend: They put the book in the sun, and page by page it got dry.
    rule: drink at the table
    """
)


def mistake(t: Teller) -> str:
    people.child(t)
    people.family(t)
    t.cast_from(deed=MISTAKES)
    return """
    {opening}
    {loves}
    ? {He} always tried to be good, but it was not always easy.

    {one_day} {deed.does}.
    | {one_day} was alone in the house for a moment. {He} {deed.does}.
    "Oh no!" [said|cried] {hero}. {He} was [afraid|scared] that {helper} would be angry. So {he} {deed.hide}.
    | {Hero} did not know what to do. {He} {deed.hide}.

    [Soon|A little later], {helper} came [in|home]. "{deed.sees}" {helper.he} asked.
    ? {Hero} [looked at {his} feet|turned red]. "I do not know," {he} said. But {his} tummy felt [bad|funny].
    | {Hero} did not say a word. {He} felt [very bad|bad inside].
    ? {Hero} could not eat and {he} could not play. All the time, {he} thought about it.
    [At last|Then], {hero} [took a deep breath|began to cry]. "It was me," {he} said. "I {deed}. I am [so |very ]sorry."
    ? It was very quiet for a moment.
    {Helper} [gave {him} a hug|took {his} hand]. "I am [a little |]sad about it," {helper.he} said. "But I am glad \
    that you told [me|me the truth]."
    | "Thank you for telling me the truth," said {helper}. "That was very brave."
    {deed.mend}

    {Hero} felt [much better|light and happy again]. {He} promised to {deed.rule} next time.
    | After that, {hero} always remembered to {deed.rule}. And when {he} made a mistake, {he} told the truth.
    | {Hero} learned that everyone makes mistakes, and that it is best to tell the truth.
    """
