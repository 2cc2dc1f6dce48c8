"""Plots about an animal in need: one that is hurt, and one that cries for help."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, names, records

HURT = records(
    """
    name: bird
    look: [little|small|blue]
    where: in the garden, under a tree
    trouble: It had a hurt wing and could not fly.
    plan: We can make a nest in a box and give it some water
    care: {He} put soft grass into a box and fed the bird with seeds every day.
    well: {he} opened the box, and the bird flew up into the sky
    thanks: The next morning, the bird sat by {his} window and sang a song for {him}.

    name: kitten
    look: [little|gray|black]
    where: in the street, under a car
    trouble: It was wet and hungry, and it cried, "Meow, meow."
    plan: Let us dry it and give it some food
    care: {He} dried the kitten with a towel and gave it a bowl of milk.
    well: the kitten was warm and round, and it purred
    thanks: The kitten jumped on {his} lap. It wanted to stay forever, and {helper} said yes.

    name: turtle
    look: [little|green|old]
    where: on the hot road
    trouble: It lay on its back and could not turn around.
    plan: Hold it gently, and we will take it to the pond
    care: {He} turned the turtle around and carried it all the way to the pond.
    well: the turtle put its head out and swam away
    thanks: Before it went under the water, the turtle looked back at {him}, as if to say thank you.

    name: duckling
    look: [little|yellow|tiny]
    where: in the tall grass
    trouble: It had lost its mother and cried, "Peep, peep."
    plan: The mother must be near the water. Let us look for her
    care: {He} carried the duckling in {his} hat and walked along the river.
    well: they heard a loud quack, and the mother duck came swimming
    thanks: The duckling jumped into the water, and the whole duck family swam around in a circle.

    name: bunny
    look: [little|brown|white]
    where: by the fence
    trouble: Its foot was caught in the wire.
    plan: You talk to it softly, and I will cut the wire
    care: {He} talked to the bunny until it was not afraid, and {helper} cut the wire.
    well: the bunny was free, and it hopped across the field
    thanks: After that, the bunny came every evening to eat a carrot by the fence.

    name: hedgehog
    look: [little|round|tiny]
    where: in the snow
    trouble: It was too cold and too thin to sleep through the winter.
    plan: We can make a warm house for it out of leaves
    care: {He} put leaves and straw into a box and brought the hedgehog some food.
    well: the hedgehog was big and round and went to sleep in the leaves
    thanks: In the spring, the hedgehog came out of the box and walked through the garden.

    name: butterfly
    look: [little|yellow|blue]
    where: in a big puddle
    trouble: Its wings were wet, and it could not get out.
    plan: Hold out a leaf, so that it can climb up
    care: {He} held out a leaf, and the butterfly climbed on it. Then {he} put the leaf in the sun.
    well: the wings were dry, and the butterfly flew up
    thanks: The butterfly sat down on {his} nose for a moment, and that made {him} laugh.

    name: puppy
    look: [little|brown|white]
    where: in the park, behind a bush
    trouble: It was alone and shook with cold.
    plan: Let us keep it warm and find out where it lives
    care: {He} put {his} own coat around the puppy and asked every house in the street.
    well: an old woman opened a door and was so glad to see her puppy
    thanks: "You can come and play with the puppy every day," the old woman said to {him}.

    name: bee
    look: [little|tiny|tired]
    where: on the window
    trouble: It was so tired that it could not fly.
    plan: Give it a drop of water with sugar
    care: {He} put a drop of sugar water on a spoon, and the bee began to drink.
    well: the bee moved its wings and flew away
    thanks: It flew straight to the flowers in the garden, and soon there was honey in the hive.
    """
)


def hurt_animal(t: Teller) -> str:
    people.child(t)
    people.family(t)
    t.cast_from(pet=HURT)
    return """
    {opening}
    {loves}
    ? {He} loved all animals, big and small.

    {one_day} found a {pet.look} {pet} {pet.where}. {pet.trouble}
    | {one_day} was on {his} way home when {he} saw something {pet.where}. It was a {pet.look} {pet}! {pet.trouble}
    | {one_day} heard a small sound. {He} looked around and found a {pet.look} {pet} {pet.where}. {pet.trouble}
    "[Do not be afraid, little {pet}|Poor little {pet}|Oh, you poor thing]," said {hero}. "[I will help you|I will not hurt you]."
    ? The {pet} looked at {him} with its small eyes.
    But {hero} did not know what to do. So {he} [called|went to get] {helper}.
    | {Hero} ran to {helper}. "[Please come|Please help], there is a {pet} that needs us!" {he} said.
    "{pet.plan}," said {helper}.[ "And be very gentle."| "But be careful."||]

    {Hero} did as {helper} said. {pet.care}
    | So they went to work. {pet.care}
    ? "You are doing well," said {helper}.
    [Soon|After a while|At last], {pet.well}!
    ? {happy}
    | {Hero} was happy, and a little sad to say goodbye.
    {pet.thanks}
    | {pet.thanks} {Hero} would never forget it.
    ? "You have a good heart," said {helper}.
    {Hero} learned that [even a small {hero.kind} can be a big help|it feels good to help others].
    | From that day on, {hero} looked out for every little animal.
    """


# Who cries for help, what has happened, and what it takes to help.
CRIES = records(
    """
    trouble: {friend} was stuck in the mud. The more {friend.he} moved, the deeper {friend.he} sank
    short: I am stuck in the mud
    alone: {He} pulled and pulled, but the mud was too strong.
    idea: We need a long stick
    works: {friend} held on to the stick, and {hero} and {helper} pulled. Plop! Out came {friend}, all brown with mud

    trouble: {friend} had fallen into a deep hole
    short: I fell into this hole
    alone: {He} reached down, but the hole was too deep.
    idea: We need a strong vine
    works: they let the vine down. {Friend} held on with all {friend.his} strength, and they pulled {friend.him} up

    trouble: a big branch had fallen on {friend.his} tail
    short: My tail is under this branch
    alone: {He} pushed with all {his} strength, but the branch did not move.
    idea: Let us push together on three
    works: they counted to three and pushed, and the branch rolled away

    trouble: {friend} sat on a log in the river, and the log was moving fast
    short: I cannot swim
    alone: {He} ran along the river, but {he} could not reach the log.
    idea: We can stop the log at the little bridge
    works: they ran to the bridge and held out a long stick. {Friend} took it and jumped on the bridge

    trouble: {friend} was caught in a thorn bush
    short: The thorns hold me tight
    alone: {He} pulled at the bush, but the thorns hurt.
    idea: Stay still, and we will take the thorns away one by one
    works: they took away one thorn after the other until {friend} was free

    trouble: {friend} had put {friend.his} head into an old jar and could not get it out
    short: I cannot see anything
    alone: {He} pulled at the jar, but it did not come off.
    idea: We must make it slippery with some water
    works: they put water around the jar and turned it softly. Plop! The jar came off

    trouble: {friend.his} foot was caught between two rocks
    short: My foot is stuck
    alone: {He} pushed the rock, but it was too heavy.
    idea: We can use a strong stick to lift the rock
    works: they put a stick under the rock and pushed it down. The rock moved, and {friend} was free
    """
)
WALKERS = names(
    "bunny fox squirrel mouse raccoon hedgehog dog cat pig goat lamb puppy kitten donkey monkey lion tiger zebra"
)
HELP_FIRST = """
    "Help!" said {friend.a}. "[Please help me!|Is anybody there?|Can you hear me?] {cry.short}!"
    | "Help!" said {friend.a}. "{cry.short}!"
    A {hero.trait} little {hero.kind}{hero.named} heard {friend.him} and came running. {He} saw that {cry.trouble}.
    | Not far away, a {hero.trait} little {hero.kind}{hero.named} was looking for food. {He} ran to help and saw that {cry.trouble}.
"""
HELP_LATER = """
    {opening}
    {loves}

    {one_day} was on {his} way home when {he} heard a cry. "Help! Help!" It was {friend.a}. {Cry.trouble}.
    | {one_day} went for a walk. "Help!" cried somebody. {He} ran to look and saw {friend.a}. {Cry.trouble}.
    | {one_day} heard a cry for help. It was {friend.a}. {Cry.trouble}.
"""


def cry_for_help(t: Teller) -> str:
    people.animal(t, kinds=WALKERS)
    people.another_animal(t, looks="[little|poor little|small]", kinds=WALKERS)
    people.wise_animal(t)
    t.cast_from(cry=CRIES)
    start = HELP_FIRST if people.cries_for_help(t, 0.8) else HELP_LATER
    return (
        start
        + """
    "[Do not worry|Do not be afraid], I will help you!" said {hero}. {cry.alone}
    | "Hold on! I will get you out!" said {hero}. {cry.alone}
    ? "Please hurry!" cried {friend}.
    {Hero} did not give up. {He} ran to {helper.a} who lived near there.
    | "I need more help," thought {hero}. {He} ran as fast as {he} could and found {helper.a}.
    ? "[Please come with me|Come quickly], {helper.call}! {Friend} needs our help!" {he} said.
    | {Hero} told {helper.him} what had happened.
    {Helper} looked at it and thought for a moment. "{cry.idea}," {helper.he} said.
    | "I know what to do," said {helper}. "{cry.idea}."
    So {cry.works}!
    | "[Good idea|Let us try it]!" said {hero}. So {cry.works}!

    "[Thank you, thank you|You saved me]!" said {friend}. {Friend.He} was [so happy|safe again].
    | {Friend} hugged them both. "You saved me! How can I ever thank you?" {friend.he} asked.
    ? "[We are happy to help|That is what friends are for]," said {hero}.
    Then they all ate {world.treats} together[ and told funny stories|].
    | After that, they all went home together and [had a good meal|drank some tea].
    From that day on, {hero} and {friend} were [best|good] friends.
    | {Hero} learned that when you cannot do it alone, you can ask for help.
    ? {ever_after}
    """
    )
