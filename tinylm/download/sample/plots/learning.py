"""Plots about learning: children learn a skill, young animals learn what their kind can do."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, records, words

SKILLS = records(
    """
    name: ride a bike
    fails: But the bike fell to the left, and then it fell to the right. {Hero} hurt {his} knee.
    tip: Look ahead and not at your feet. And keep moving
    works: The bike went faster and faster, and {hero} did not fall

    name: swim
    fails: But {he} went under the water and got water in {his} nose.
    tip: Kick with your legs and hold your head up
    works: {Hero} swam all the way to the other side of the pool

    name: tie shoes
    fails: But the laces came open again and again, and {he} fell over them.
    tip: Make two bunny ears and cross them
    works: There was a bow on the left shoe and a bow on the right shoe

    name: whistle
    fails: {He} blew and blew, but only air came out of {his} mouth.
    tip: Make your lips round and small, and blow very softly
    works: A long, clear sound came out, and a bird in the tree answered

    name: fly a kite
    fails: But the kite fell on the grass every time.
    tip: Wait for the wind, and then run
    works: The kite went up and up until it was as small as a butterfly

    name: skate
    fails: But {his} feet went this way and that way, and {he} sat down on the ice. Bump!
    tip: Bend your knees and make small steps
    works: {Hero} went around in a big circle without falling

    name: write letters
    fails: But the letters were too big, and one of them looked the wrong way.
    tip: Go slowly, one letter after the other
    works: All the letters stood in a row, and everyone could read {his} name

    name: catch a ball
    fails: But the ball fell on the ground every time, and once it hit {his} nose.
    tip: Keep your eyes on the ball and your arms wide open
    works: The ball flew through the air and landed right in {his} hands

    name: jump rope
    fails: But {his} feet got caught in the rope every time.
    tip: Listen to the rope. Jump when it hits the ground
    works: {Hero} jumped one, two, three, ten times in a row

    name: play the flute
    fails: But it sounded so bad that the cat ran out of the room.
    tip: Start with one soft note
    works: {Hero} played a whole song, and even the cat came back to listen

    name: climb the big tree
    fails: But {he} always slid down again and landed in the grass.
    tip: Find a good branch for your foot first, and then for your hand
    works: {Hero} sat on the big branch and could see all the houses

    name: make an egg for breakfast
    fails: But the egg fell on the floor. Splat!
    tip: Hold it gently, and tap it on the bowl
    works: The egg went into the pan, and it looked like a little sun
    """
)


def learning(t: Teller) -> str:
    people.child(t)
    t.pick((people.family, people.another_child))(t, "helper")
    t.cast_from(skill=SKILLS, days=words("a week, three days, many days"))
    return """
    {opening}
    ? {loves}
    More than anything, {he} wanted to {skill}.
    | All {his} friends could {skill}, but {hero} could not.

    {one_day} tried to {skill}. {skill.fails}
    | {one_day} said, "Today I will learn to {skill}!" {He} tried and tried. {skill.fails}
    "I cannot do it," said {hero}, and {he} wanted to give up.
    | "This is too hard!" {he} cried. "I will never learn it!"
    ? {sad}

    {Helper.a} [saw it|was watching] and came to {him}. "[Do not give up|Try again]," said {helper}. "{skill.tip}."
    | {Hero} went to {helper.a}. "Can you teach me to {skill}?" {he} asked. "Of course," said {helper}. "{skill.tip}."
    ? {Helper} showed {him} how to do it[, again and again|, very slowly|].
    So {hero} tried again. [It was a little better|It was still hard]. {He} tried every day for {days}.
    | {Hero} tried once. {He} tried twice. {He} tried again and again for {days}.

    And then it worked! {skill.works}.
    | Then, one day, {hero} did it! {skill.works}.
    ? "[I can do it|I did it]! [Look, {helper.call}|Look at me]!" {he} shouted.
    | {happy}
    {Helper} [clapped|was very proud]. "[You worked hard|You did not give up], and now you can {skill}," {helper.he} said.
    | {Hero} gave {helper} a big hug.
    {Hero} learned that you can do hard things if you do not give up.
    | From that day on, {hero} did not give up so fast. "I will try," {he} always said.
    ? {good_night}
    """


FIRST_TRIES = records(
    """
    kind: bird
    world: forest
    skill: fly
    fails: flapped and flapped, but {he} fell down into the soft grass
    tip: Open your wings wide and let the wind carry you
    works: the wind carried {him} up, over the trees and into the blue sky

    kind: duck
    world: farm
    skill: swim
    fails: put one foot into the pond, but the water was so cold that {he} ran away
    tip: Jump in with both feet, and the water will hold you
    works: the water held {him}, and {he} swam in a big circle

    kind: squirrel
    world: forest
    skill: jump from tree to tree
    fails: missed the branch and landed in a bush
    tip: Look at the branch and not at the ground
    works: {he} flew through the air and landed on the branch

    kind: frog
    world: forest
    skill: jump over the stream
    fails: jumped, and splash, {he} fell into the water
    tip: Take three quick hops and then jump
    works: {he} landed on the other side and did not even get wet

    kind: monkey
    world: jungle
    skill: swing through the trees
    fails: let go too soon and landed in a pile of leaves
    tip: Hold on with one hand until the other hand has the next branch
    works: {he} went from tree to tree, faster and faster

    kind: elephant
    world: jungle
    skill: make rain
    fails: blew as hard as {he} could, and all the water went into {his} own eyes
    tip: Lift your nose up high before you blow
    works: the water came down on {his} back like warm rain

    kind: lion
    world: jungle
    skill: roar
    fails: opened {his} mouth, but only a little "meow" came out
    tip: Take a deep breath and think of something big
    works: {he} roared so loudly that all the birds flew up

    kind: mole
    world: forest
    skill: dig a tunnel
    fails: dug and dug, but the earth fell on {his} head
    tip: Push the earth to the side with every step
    works: {he} dug a long tunnel and came out under the sun

    kind: beaver
    world: forest
    skill: build a dam
    fails: put some sticks in the stream, but the water took them all away
    tip: Put mud between the sticks to hold them
    works: the sticks did not move, and there was a little lake

    kind: dolphin
    world: sea
    skill: jump over the waves
    fails: jumped and landed right on {his} tummy
    tip: Swim very fast before you jump
    works: {he} flew over the wave and came down like an arrow

    kind: owl
    world: forest
    skill: fly at night
    fails: flew into a tree, because it was so dark
    tip: Open your eyes wide and wait until you can see
    works: {he} flew between all the trees without a sound

    kind: lamb
    world: farm
    skill: jump over the fence
    fails: ran up to the fence and stopped right in front of it
    tip: Do not think about the fence. Think about the grass behind it
    works: {he} was in the air, and then {he} stood in the sweet green grass

    kind: chick
    world: farm
    skill: find worms
    fails: scratched and scratched, but {he} found only a stone
    tip: Look where the ground is wet and soft
    works: {he} pulled and pulled, and there was a big fat worm
    """
)


def first_try(t: Teller) -> str:
    row = t.draw(FIRST_TRIES)
    people.animal(t, (row["world"],), kinds=(row["kind"],))
    people.family(t, members=people.PARENTS)
    t.cast("try", row)
    t.cast_from(times=words("a second time, again and again, ten more times, all day long"))
    return """
    {opening}
    ? {He} had two brothers and a sister.
    {He} could not {try.skill} yet.
    | All the other {hero.kind}s could already {try.skill}, but {hero} could not.

    {one_day} wanted to {try.skill}. {He} {try.fails}.
    | {one_day} said, "Today I will {try.skill}!" {He} {try.fails}.
    ? Some of the others laughed. {sad}
    | {sad}
    "I will never learn it," said {hero}. But {helper} [did not laugh|came to {him}]. "{try.tip}," {helper.he} said.
    | {asks} "I cannot {try.skill}," said {hero}. "{try.tip}," said {helper}.
    ? "[Will you catch me if I fall|Will you stay here]?" asked {hero}. "[Always|Yes, I will]," said {helper}.

    {Hero} tried {times}. And then {try.works}!
    | {Hero} was afraid, but {he} took a deep breath and tried again. And look! This time, {try.works}.
    "[I can do it|Look at me]!" [cried|shouted] {hero}.
    | {happy}
    ? {Helper} was very proud. "[I knew it|You did it]!" {helper.he} said.
    From that day on, {hero} wanted to {try.skill} from morning until evening.
    | {Hero} learned that it is okay to fall, if you try again.
    | And when a little one could not do something, {hero} said, "Try again. I will help you."
    ? {ever_after}
    """
