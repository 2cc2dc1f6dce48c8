"""Plots between friends: sharing, a new child in town, an animal that is different."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, columns, records

SHARED = records(
    """
    name: a new [red|blue|yellow] ball
    ask: Can I play too
    alone: kicked the ball against the wall
    dull: The ball rolled away, and nobody kicked it back.
    together: kicked the ball back and forth until the sun went down

    name: a big box of blocks
    ask: Can I build with you
    alone: built a little house
    dull: The house was small, and nobody was there to look at it.
    together: built a tower that was taller than both of them

    name: a box of crayons
    ask: Can I draw with you
    alone: drew a little tree
    dull: One little tree looked sad on such a big paper.
    together: drew a whole forest with birds and bunnies

    name: a red wagon
    ask: Can I have a ride
    alone: pulled the wagon up the hill
    dull: The wagon was empty, and nobody laughed.
    together: took turns. One of them pulled, and the other one sat in the wagon and sang

    name: a bag of cookies
    ask: Can I have one
    alone: ate one cookie and then one more
    dull: Soon {his} tummy hurt, and the cookies did not taste so good anymore.
    together: sat on the grass and ate the cookies until the bag was empty

    name: a [yellow|red] kite
    ask: Can I fly it too
    alone: ran with the kite, but it fell on the ground
    dull: Nobody was there to hold it up.
    together: ran together. {Hero} held the string, {friend} let the kite go, and up it went

    name: a big bowl of popcorn
    ask: Can I have some
    alone: ate some of the popcorn
    dull: It was too much for one, and it got cold.
    together: ate the popcorn and tried to catch it with their mouths

    name: a new jump rope
    ask: Can I jump too
    alone: jumped one, two, three times
    dull: Nobody was there to count for {him}.
    together: took turns and counted for each other, all the way to twenty

    name: a bucket and a shovel
    ask: Can I dig with you
    alone: dug a hole in the sand
    dull: The sand fell back into the hole again and again.
    together: built a big castle with four towers

    name: a toy drum
    ask: Can I play it too
    alone: played boom, boom, boom
    dull: It was only noise, and nobody danced.
    together: made music. One of them played, and the other one danced
    """
)
SHARED_BY_ANIMALS = records(
    """
    name: a big pile of {world.treats}
    ask: Can I have some
    alone: ate and ate
    dull: Soon {his} tummy hurt, and nobody was there to talk to.
    together: ate together and told each other stories

    name: a [warm|soft|dry] place to sleep
    ask: Can I sleep here too
    alone: lay down and closed {his} eyes
    dull: The night was cold, and {he} could not sleep.
    together: lay side by side and kept each other warm

    name: a big red apple
    ask: Can I have a bite
    alone: took one bite and then one more
    dull: The apple was so big that {he} could not eat it all.
    together: took turns. One bite for {hero}, one bite for {friend}, until there was no apple left

    name: a big leaf to sit under in the rain
    ask: Can I come under the leaf too
    alone: sat under the leaf
    dull: The wind was strong, and the leaf was too heavy to hold for long.
    together: held the leaf together and watched the rain
    """
)


def sharing(t: Teller) -> str:
    if t.chance(0.65):
        people.child(t)
        people.another_child(t)
        t.cast_from(thing=SHARED)
    else:
        people.animal(t)
        people.another_animal(t)
        t.cast_from(thing=SHARED_BY_ANIMALS)
    people.family(t)
    return """
    {opening}
    {loves} But {he} did not like to share.
    | There was only one problem. {Hero} did not like to share.
    ? "Mine!" was {his} favorite word.

    {one_day} had {thing}. Then {friend.a} came. "{thing.ask}?" asked {friend}.
    | {one_day} got {thing}. {He} was very happy. "{thing.ask}?" asked {friend.a}.
    "No!" said {hero}. "It is [all |]mine!" {Friend} was sad and walked away.
    | "No, go away!" said {hero}. "I do not want to share." {Friend} [looked down|felt very sad] and left.

    So {hero} {thing.alone}. But it was not [much fun|nice] to be alone. {thing.dull}
    | {Hero} {thing.alone}. [At first, it was nice.|] But then {he} felt lonely. {thing.dull}
    ? {Helper} [had seen it all|came by] and asked, "How would you feel if {friend} did not share with you?"
    {Hero} thought about {friend}. "I was not [kind|a good friend]," {he} said.
    | {Hero} was sorry. {He} wanted to make it right.

    {He} [went|ran] to {friend} and said, "I am sorry. Let us share!" {Friend} [smiled|was happy].
    | {He} [looked for|ran after] {friend}. "Please come back," {he} said. "It is better when we share."
    They {thing.together}. [It was much better than before.|They were both happy.|]
    ? {happy}
    | "[This is much better|I am glad you came back]," said {hero}.
    {Hero} learned that sharing makes everything [better|more fun].
    | From that day on, {hero} [always shared with {friend}|liked to share].
    | And {hero} and {friend} were best friends.
    """


GAMES = columns(
    "name; did",
    """
    play hide and seek; played hide and seek, and {friend} found the best places
    build a sand castle; built a sand castle with a flag on top
    play ball; threw the ball high into the air and caught it again
    go on the swings; went so high on the swings that they could see over the trees
    look for bugs; found a green bug with long legs and gave it a name
    draw on the ground with chalk; drew a long road with houses and cars on it
    race around the tree; ran around the tree until they fell into the grass
    make little boats; made two boats out of leaves and let them swim in the stream
    play pirates; looked for gold behind every bush
    feed the ducks; gave the ducks some bread, and a little duck followed them
    make a crown of flowers; made two crowns and played king and queen
    play zoo; roared like lions and jumped like monkeys
    """,
)


def new_friend(t: Teller) -> str:
    people.child(t)
    people.another_child(t)
    people.family(t)
    t.cast_from(game=GAMES)
    return """
    {opening}
    {loves}
    ? But {he} often played alone.

    {one_day} went to the park with {helper}. There, {he} saw a {friend.kind} who sat all alone on a bench.
    | {one_day} saw a new {friend.kind} in the street. {Friend.He} sat on the steps of a house and looked sad.
    | {one_day} looked out of the window. A new {friend.kind} stood in front of the house next door, and {friend.he} looked very shy.
    "[Who is that|Why is that {friend.kind} alone]?" {hero} asked. "{Friend.He} is new here and [has no friends yet|does \
    not know anyone]," said {helper}.[ "Maybe you can say hello."||]
    ? {Hero} [felt a little shy|was a little afraid to talk to {friend.him}]. But {he} knew how it feels to be alone.
    | {Hero} was shy too, but {he} wanted to be kind.

    {Hero} went up to {friend.him}. "Hello, I am {hero}," {he} said. "[Do you want to|Would you like to] {game}?"
    The {friend.kind} looked up. "[Yes, please|I would love to]," {friend.he} said. "My name is {friend}."
    | "I am {friend}," said the {friend.kind} in a small voice. "[Do you mean it|Do you want to play with me]?" "Yes, I do!" said {hero}.
    They {game.did}. [They laughed a lot.|It was so much fun.|]
    ? {Friend} fell down once, but {hero} helped {friend.him} up.
    | {Friend} told {him} about {friend.his} old house far away. {Hero} told {friend.him} about {his} street.
    ? {Friend} was not sad anymore.
    | Soon {friend} was laughing.

    When it was time to go home, {friend} asked, "[Can we play again tomorrow|Will you play with me tomorrow]?"
    "Yes!" said {hero}. "Tomorrow and every day!"
    | "Of course," said {hero}. "You are my friend now."
    ? {happy}
    From that day on, {hero} and {friend} were [best|good] friends.
    | {Hero} learned that a kind word can make a new friend.
    ? {good_night}
    """
