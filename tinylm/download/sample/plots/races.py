"""Plots about being the best: two races and a boast."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, columns, names, records, words

SLOW = names("turtle mole hedgehog pig hen duck cow hippo elephant chick frog")
FAST = names("bunny fox deer squirrel horse dog goat puppy kitten zebra tiger monkey lion")
RACES = columns(
    "name; did; place; fall",
    """
    a running race; ran as fast as the wind; the big tree; fell over a root and hurt {friend.his} knee
    a bike race; rode as fast as the wind; the red gate; hit a stone and fell off the bike
    a race with sleds; went down the hill as fast as the wind; the bottom of the hill; fell off the sled into the deep snow
    a sack race; hopped and hopped; the old wall; fell down and could not get out of the sack
    a race on skates; skated as fast as the wind; the end of the lake; slipped and fell hard on the ice
    a race with scooters; rolled down the street as fast as the wind; the blue house; hit a stone and fell on the ground
    """,
)
ANIMAL_RACES = columns(
    "name; did; place; fall",
    """
    a race through the field; ran as fast as the wind; the old fence; fell over a root and hurt {friend.his} leg
    a race around the pond; ran as fast as the wind; the tall reeds; slipped in the mud and hurt {friend.his} leg
    a race up the hill; ran as fast as the wind; the top of the hill; stepped on a thorn and could not run
    a race to the river; ran as fast as the wind; the river; fell into a hole and could not get out
    """,
)


def kind_race(t: Teller) -> str:
    if t.chance(0.6):
        people.child(t)
        people.another_child(t)
        t.cast_from(race=RACES)
    else:
        people.animal(t, kinds=FAST)
        people.another_animal(t, kinds=SLOW + FAST)
        t.cast_from(race=ANIMAL_RACES)
    t.cast_from(prize=words("golden cup, shiny medal, big cake, basket of apples"))
    return """
    {opening}
    ? {loves}
    {He} was very fast, and {he} loved to win.
    | {He} wanted to be the fastest of all.

    {one_day} was in {race}. The winner would get a {prize}. "[I will win|I am the fastest]," said {hero}.
    | {one_day} heard that there was {race}. The winner would get a {prize}. "I want to win!" said {hero}.
    {Friend.a} was in the race too.
    | {Friend.a} stood next to {him}. "Good luck!" they said to each other.
    "One, two, three, go!" They all {race.did}. Soon, {hero} was in front.
    | "Ready, set, go!" They all {race.did}, and {hero} was the first.
    ? {He} could already see {race.place}. That was where the race would end.

    Then {he} heard a cry. {Friend} {race.fall}! "[Please help me|It hurts|Ow, ow]!" cried {friend}.
    ? {Hero} looked ahead to {race.place}. It was so close! Then {he} looked back at {friend}.
    | {Hero} could win now. But what about {friend}?
    {Hero} [stopped|turned around] and ran back. "I will help you," {he} said.
    ? "But you will not win," said {friend}. "That is okay," said {hero}.
    {Hero} helped {friend.him} up, and they went on together, slowly, side by side.
    | {Hero} helped {friend.him} up. Step by step, they went on together.
    They were the last ones, but everyone [clapped and cheered|cheered for them].
    ? "You did not win the race, but you [were the kindest|helped a friend]," [they|all the others] said.
    | The winner came to them with the {prize}. "I want to share it with you," the winner said, "because you helped a friend."
    ? {happy}
    | "Thank you, {hero.call}," said {friend}.
    {Hero} learned that [a friend is worth more than a {prize}|it is better to be kind than to be first].
    | From that day on, {hero} and {friend} were best friends.
    ? {ever_after}
    """


# A fast one who stops on the way, and why.
STOPS = columns(
    "name; back",
    """
    lay down under a tree and fell asleep; When {friend} woke up
    saw some {world.treats} and began to eat; When {friend} was full
    met a pretty butterfly and ran after it; When {friend} remembered the race
    stopped to look at {friend.himself} in the water; When {friend} looked up again
    told everyone on the way how fast {friend.he} was; When {friend} was done talking
    """,
)


def steady_race(t: Teller) -> str:
    people.animal(t, kinds=SLOW)
    people.another_animal(t, looks="[fast|proud]", kinds=FAST)
    t.cast_from(stop=STOPS)
    t.cast_from(goal=words("the big rock, the old tree, the river, the end of the field, the top of the hill"))
    return """
    {opening}
    {Hero} was not fast. {He} always took {his} time.
    | {He} was the slowest of them all, but {he} did not mind.

    {one_day} met {friend.a}. "You are so slow!" {friend} laughed. "I am the fastest of all!"
    | {one_day} was on {his} way home when {friend.a} came by. "How slow you are!" said {friend}, and laughed.
    "Then let us have a race to {goal}," said {hero}.
    | "I may be slow, but I never give up," said {hero}. "Let us race to {goal}."
    ? {Friend} laughed even more. "That will be easy," {friend.he} said.
    | All the other animals came to watch.

    The others counted, "One, two, three, go!" {Friend} ran away and was soon out of sight. {Hero} [went|walked] on, step by step.
    "I have a lot of time," thought {friend}. So {friend.he} {stop}.
    | On the way, {friend} looked back. {Hero} was far away. So {friend} {stop}.
    {Hero} did not stop. {He} went on and on.
    | Step by step, {hero} went on.
    | {Hero} was tired, but {he} did not stop.
    ? {He} went past {friend} without a sound.
    {stop.back}, {hero} was almost at {goal}! {Friend} ran and ran, but it was too late.
    | {stop.back}, {hero} was far ahead! {Friend} ran as fast as {friend.he} could, but it was too late.

    {Hero} was first! [All the animals cheered.|{happy}]
    | "The winner is {hero}!" everyone cheered.
    "I am sorry that I laughed at you," said {friend}.
    | {Friend} looked down. "You won because you did not stop," {friend.he} said. "I am sorry that I laughed."
    ? "That is okay," said {hero}. "Let us be friends."
    {Hero} learned that slow and steady can win the race.
    | From that day on, nobody laughed at {hero} anymore.
    ? {ever_after}
    """


BOASTS = records(
    """
    name: the strongest
    shows: pushed a big rock up the hill to show how strong {he} was
    trouble: the rock rolled back, and {his} foot was caught under it
    saves: dug away the earth under the rock until {he} could pull {his} foot out

    name: the fastest
    shows: ran up and down so that everyone could see how fast {he} was
    trouble: {he} stepped on a sharp thorn and could not walk
    saves: was small enough to see the thorn and pulled it out

    name: the bravest
    shows: went into the dark cave alone
    trouble: it was so dark that {he} could not find the way out
    saves: knew every corner of the cave and showed {him} the way to the light

    name: the cleverest
    shows: told everyone that {he} knew the way through the old forest
    trouble: {he} took the wrong path and got lost
    saves: lived there and knew the right path home

    name: the prettiest
    shows: looked at {himself} in the water all day long
    trouble: {he} leaned too far and fell in, and {his} feet got stuck in the mud
    saves: held out a long blade of grass and told {him} how to get free

    name: the best climber
    shows: climbed up the tallest tree
    trouble: {he} looked down and was too afraid to climb down again
    saves: came up to {him} and showed {him} a safe place for every foot

    name: the loudest
    shows: shouted from morning until evening
    trouble: {he} got lost in the fog and wanted to call for help, but {his} voice was gone
    saves: heard the soft sound of {his} steps and brought {him} home
    """
)
BOASTERS = names("fox bear squirrel raccoon bunny dog cat goat puppy kitten monkey lion tiger")
TINY_FRIENDS = words("ant, mouse, ladybug, snail, bee, spider, little bird, worm, firefly")


def boast(t: Teller) -> str:
    people.animal(t, traits=words("proud, loud, strong"), kinds=BOASTERS)
    t.cast_from(proud=BOASTS, tiny=TINY_FRIENDS)
    return """
    {opening}
    {Hero} thought that {he} was {proud} of all. "I am {proud}!" {he} [said|told everyone] every day.
    | {He} always said, "I am {proud} of all!"
    ? The other animals did not like to hear it.

    {one_day} saw a {tiny} by the path. "[How small you are!|What can you do?]" {hero} laughed. "I am {proud} of all!"
    | {one_day} met a {tiny}. "Do you want to play with me?" asked the {tiny}. "No," said {hero}. "You are too small. And I \
    am {proud} of all!"
    ? The {tiny} [did not say anything|only smiled|was sad].
    Then {hero} {proud.shows}. [But suddenly|But soon], {proud.trouble}.
    ? "Help!" {he} said in a small voice. But nobody was there.
    | {sad} {He} was all alone.

    Then {he} [heard a tiny voice|saw something move]. It was the {tiny}! "I will help you," said the {tiny}.
    "You? But you are so small," said {hero}. The {tiny} {proud.saves}.
    | The {tiny} {proud.saves}.
    ? {Hero} was [free|safe] and happy, but {he} also felt [bad|sorry].
    | {Hero} looked at the {tiny} for a long time.
    "Thank you," said {hero}. "You are small, but you [have a big heart|are a great friend]."
    | "I am sorry that I laughed at you," said {hero}. "Thank you for helping me."

    From that day on, {hero} did not say that {he} was {proud} anymore. {He} said, "[Everyone is good at something|We all need help sometimes]."
    | {Hero} learned that it is better to be kind than to be {proud}.
    | After that, {hero} and the {tiny} were best friends.
    ? {ever_after}
    """
