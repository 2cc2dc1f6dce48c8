"""Plots among animals: one that is different, a thing too heavy for one, a home blown away."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, columns, names, records, words

# Animals that the others stay away from, and how the very thing that is odd about them helps the hero.
ODD = records(
    """
    kind: hedgehog
    world: forest
    why: had sharp spines, and everyone was afraid to touch {odd.him}
    danger: a hungry wolf jumped out of the bushes
    saves: rolled up into a ball in front of {hero}. The wolf hurt its nose and ran away

    kind: bear
    world: forest
    why: was so big that everyone ran away from {odd.him}
    danger: a tree fell down in the wind, and {hero} could not get out from under it
    saves: lifted the tree with both arms, and {hero} was free

    kind: mole
    world: forest
    why: could not see well and always had dirt on {odd.his} nose
    danger: stones rolled down the hill, and {hero} was shut in a dark cave
    saves: dug a long tunnel into the cave. {Hero} could crawl out

    kind: owl
    world: forest
    why: slept all day and was awake all night
    danger: {hero} got lost in the forest, and it grew dark
    saves: saw {him} with big round eyes and showed {him} the way home

    kind: skunk
    world: forest
    why: did not smell good
    danger: a hungry wolf ran after {hero}
    saves: lifted {odd.his} tail. It smelled so bad that the wolf ran away

    kind: donkey
    world: farm
    why: had such a loud voice that it hurt the ears
    danger: there was a fire in the barn at night, and {hero} was asleep inside
    saves: cried out so loudly that everyone woke up and ran outside

    kind: goose
    world: farm
    why: was always hissing and did not walk like the others
    danger: a sly fox came over the fence and wanted to catch {hero}
    saves: hissed and flapped {odd.his} wings until the fox ran away

    kind: snake
    world: jungle
    why: was long and thin and had no legs
    danger: {hero} fell into a deep hole and could not get out
    saves: hung down into the hole like a rope and pulled {him} out

    kind: elephant
    world: jungle
    why: was so big and heavy that the ground shook
    danger: {hero} fell into the fast river and held on to a rock
    saves: reached out with {odd.his} long nose and pulled {him} out of the water

    kind: octopus
    world: sea
    why: had eight arms and looked strange
    danger: a big shark swam after {hero}
    saves: made the water as black as the night, and the shark could not see anything

    kind: crab
    world: sea
    why: had big claws and walked to the side
    danger: {hero} got caught in a net
    saves: cut the net with {odd.his} claws. Snip, snip, snip, and {hero} was free
    """
)
HEROES_TO_SAVE = names("bunny mouse squirrel frog puppy kitten lamb chick monkey tiger zebra fish seal")


def odd_one(t: Teller) -> str:
    odd = t.draw(ODD)
    people.animal(t, (odd["world"],), kinds=HEROES_TO_SAVE)
    people.cast_animal(t, "odd", odd)
    t.cast("met", {"name": "{odd}" if t.introduces else "{odd.a} who {odd.why}"})
    return """
    {opening}
    {loves}
    {He} had many friends. But nobody played with {odd.a} who lived near them. {Odd} {odd.why}.
    | Near {him} lived {odd.a}. Nobody wanted to play with {odd.him}. {Odd} {odd.why}.

    {one_day} was playing with {his} friends when {met} came by. "[May I play with you|Can I play too]?" {odd.he} asked.
    | {one_day} met {met}. "Will you play with me?" asked {odd}.
    "No, [go away|we do not want you here]!" said {hero}. "You are too [strange|different]." {Odd} [was very sad|went away].
    | {Hero} looked at {odd.him}. "No," {he} said. "You are not like us." {Odd} was very sad.

    [Later that day|The next day|A few days later], {odd.danger}. "Help! Help!" cried {hero}.
    ? {His} friends [were too afraid to help|did not know what to do].
    | Nobody came. {Hero} was very scared.
    Then {odd} heard {him}. {Odd.He} {odd.saves}!
    | But then {odd} came back. {Odd.He} {odd.saves}!

    "You saved me!" said {hero}. "[I was not nice to you|I was mean to you]. I am [so |very ]sorry."
    "[It is okay|I am not angry]," said {odd}. "[I only want a friend|I am glad that you are safe]."
    ? "[I will be your friend|You have a friend now]," said {hero}.
    From that day on, {odd} played with {hero} every day.
    | After that, everyone wanted to play with {odd}, and nobody sent {odd.him} away again.
    {Hero} learned that it is good to be different.
    | {Hero} learned that you have to look into the heart to find a friend.
    ? {ever_after}
    """


LOADS = columns(
    "name; where; push; moves; feast",
    """
    pumpkin; in the field; pulled; came out of the ground with a loud plop; They made a big pot of pumpkin soup.
    carrot; at the end of the field; pulled; came out of the ground with a loud plop; They ate carrots for seven days.
    snowball; at the bottom of the hill; pushed; began to roll; They put a smaller ball on top and made a fat snowman.
    log; on the path after the storm; pushed; rolled to the side; They all sat down on the log and ate berries.
    rock; in the middle of the stream; pushed; rolled away, and the water ran again; They all drank the cool water.
    boat; in the sand by the river; pushed; slid into the water; They all got in and went for a ride.
    barrel of apples; in the mud; pushed; rolled out of the mud; They opened it and ate sweet apples.
    pot of honey; under a tree; pulled; began to move; They all ate honey until they were full.
    watermelon; in the tall grass; pushed; began to roll; They cut it open and ate it in the shade.
    """,
)
SMALL = names("bunny squirrel mouse hedgehog frog bird turtle mole duck hen lamb kitten puppy chick monkey parrot")
TINY = words("ant, ladybug, bee, snail, butterfly, worm, bug, spider")


def too_heavy(t: Teller) -> str:
    people.animal(t, kinds=SMALL)
    people.another_animal(t, "second", "[kind|friendly|clever]")
    people.another_animal(t, "third", "[busy|funny|happy]")
    t.cast_from(load=LOADS, tiny=TINY)
    return """
    {opening}
    {loves}

    {one_day} found a [very big|giant|huge] {load} {load.where}. "I want to show it to everyone!" {he} said.
    | {one_day} went for a walk and saw a [very big|giant|huge] {load} {load.where}.
    | {one_day} came to a [very big|giant|huge] {load} {load.where}. "What is that?" {he} said.
    {He} {load.push} and {load.push}, but the {load} did not move.
    | {He} {load.push} as hard as {he} could. The {load} did not move at all.
    ? "It is too heavy for me," said {hero}.

    So {hero} called {second.a}. They {load.push} and {load.push}, but the {load} did not move.
    | Then {second.a} came by. "Let me help you," said {second}. They {load.push} together, but it did not move.
    Then {third.a} came. All three of them {load.push}. It was still too heavy.
    | They called {third.a} too. One, two, three! They {load.push} and {load.push}. It was still too heavy.
    "Can I help?" asked a tiny voice. It was a little {tiny}.
    | Then a little {tiny} came by. "I want to help too," it said.
    "You are too small!" laughed {third}. But {hero} said, "[Everyone can help|Let the {tiny} try]."
    | Everyone laughed. But {hero} said, "Please help us, little {tiny}."
    So they all {load.push} together. And the {load} {load.moves}!
    | Once more they all {load.push}, big and small. And what do you think? The {load} {load.moves}!

    {load.feast}
    | "Hooray!" they all shouted. {load.feast}
    ? And who got the biggest part? The little {tiny}!
    {Hero} learned that [nobody is too small to help|many friends can do what one cannot do alone].
    | From that day on, nobody laughed at the little {tiny} again.
    | "Thank you all," said {hero}. "Together, we are strong."
    ? {ever_after}
    """


# What the neighbors offer, and why it is no home for the hero.
OFFERS = columns(
    "kind; place; bad",
    """
    bird; in my nest; the nest was up in a tree, and it moved in the wind
    mole; in my tunnel; it was so dark there that {hero} hit {his} head
    frog; by the pond; it was wet there, and the frogs sang all night
    squirrel; in my tree; the tree was so full of nuts that {hero} could not lie down
    owl; on my branch; the owl talked all night, and {hero} could not sleep
    bear; in my cave; the bear snored so loudly that the walls shook
    beaver; in my dam; the water was cold, and {hero} could not swim
    """,
)
HOMELESS = names("bunny mouse hedgehog raccoon fox")


def new_home(t: Teller) -> str:
    people.animal(t, ("forest",), kinds=HOMELESS)
    for slot in ("first", "second"):
        people.cast_animal(t, slot, t.draw(OFFERS), "[kind|friendly]")
    return """
    {opening}
    {He} lived in a [little|small] house of [leaves|sticks|grass] under a [big|tall] tree.
    | {His} home was a [little|small] house of [leaves|sticks|grass] by the stream.

    One night, a big storm came. When {who} woke up, the wind had blown {his} house away!
    | One night, {who} woke up because the wind was so loud. Whoosh! It took {his} house and blew it away.
    ? "Where can I live now?" {he} [asked|cried].
    | {sad}

    {First.a} came by and said, "You can live with me {first.place}." {Hero} tried it, but {first.bad}.
    | "Come and live with me {first.place}," said {first.a}. {Hero} tried it, but {first.bad}.
    Then {second.a} said, "You can sleep {second.place}." But {second.bad}.
    | Next, {hero} met {second.a}. "Stay with me {second.place}," said {second}. But {second.bad}.
    ? "Thank you," said {hero}, "but I need a home of my own."

    "[Then we will build one|Let us build it together]!" said {first} and {second}. {First} brought sticks, {second} brought \
    leaves, and {hero} put stones all around.
    | So they all worked together. {First} and {second} carried wood, and {hero} made the walls.
    Soon there was a new house, and it was [stronger|better] than the old one.
    {happy}
    | "Thank you, my friends," said {hero}. They sat inside and ate {world.treats}.
    ? That night, the wind came back. It blew and blew, but the house did not move.
    {Hero} learned that good friends are stronger than any storm.
    | And every time the wind was loud, {hero} was happy to have such good friends.
    ? {ever_after}
    """
