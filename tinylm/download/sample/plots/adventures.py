"""Plots of adventure: a secret place, a game of pretending, a map with a treasure."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, columns, records, words

SECRETS = records(
    """
    way: a little door behind the bushes
    enter: pushed the door, and it opened with a long creak
    place: a garden full of flowers
    sees: There were red and yellow flowers everywhere, and a hundred butterflies danced in the air.
    care: brought water for the flowers

    way: a hole in the old stone wall
    enter: crawled through the hole on {his} tummy
    place: a round place with soft grass and an apple tree
    sees: The apples were red and sweet, and a little bird sang in the tree.
    care: picked apples and left some for the birds

    way: a small path under the trees
    enter: followed the path around one corner and around another
    place: a little lake with white ducks
    sees: The water was so clear that {he} could see all the fish.
    care: sat by the water and told the ducks a story

    way: a dark hole behind the waterfall
    enter: ran through the water and got a little wet
    place: a cave with shining stones
    sees: The stones shone blue and green, as if there were stars in the cave.
    care: sang in the cave, and the cave sang back

    way: an old gate covered with leaves
    enter: pulled the leaves away and opened the gate
    place: an old playground
    sees: There was a swing and a slide, and nobody had played there for a long, long time.
    care: cleaned the slide and played until the sun went down

    way: a rope in the biggest tree
    enter: climbed up and up until {he} could see over all the trees
    place: a tree house
    sees: There was a round window, a little table and two chairs.
    care: had tea in the tree house and looked at the clouds
    """
)


def secret_place(t: Teller) -> str:
    people.child(t)
    people.another_child(t)
    t.cast_from(secret=SECRETS)
    return """
    {opening}
    {loves}
    ? {He} always wanted to find something new.
    | {He} wanted to know what was behind every tree and every wall.

    {one_day} was playing outside when {he} saw {secret.way}. {He} had never seen it before.
    | {one_day} ran after {his} ball. It rolled and rolled. There, {he} saw {secret.way}!
    | {one_day} went for a walk and found {secret.way}. "Where does it go?" {he} thought.
    {He} {secret.enter}.
    | {Hero} was a little [scared|afraid], but {he} wanted to know more. {He} {secret.enter}.
    ? {His} heart went boom, boom, boom.

    "[Wow|Oh]!" said {hero}. It was {secret.place}! {secret.sees}
    | And what did {he} find? It was {secret.place}! {secret.sees}
    ? It was the most beautiful place that {he} had ever seen.
    "It would be even nicer with a friend," {he} thought.
    | {Hero} played there all morning. But soon {he} wanted to show it to somebody.

    So {he} ran to {friend.a}. "Can you keep a secret?" {he} asked. "[Yes, I can|Of course]," said {friend}. "[Then come with me|Follow me]!" said {hero}.
    | The next day, {he} took {friend.a} by the hand. "Close your eyes," {he} said. "Now open them!"
    {Friend} [could not believe it|looked around with big eyes]. "[It is wonderful|It is like magic]!" {friend.he} said.
    Every day after that, the two friends {secret.care}.
    | Together, they {secret.care}.
    ? "This is our place," said {hero}. "[Ours alone|We must take good care of it]," said {friend}.
    {Hero} learned that a secret is even better when you share it with a good friend.
    | It was their secret, and they never told anyone else.
    ? {ever_after}
    """


PRETENDING = records(
    """
    name: a big box
    turns: a ship
    calls: Set sail!
    goes: sailed over the blue sea
    danger: Big waves came and rocked the ship from side to side
    does: held on tight and sang a loud song until the sea was calm
    finds: an island with a golden beach

    name: an old blanket and two chairs
    turns: a cave
    calls: Is anybody there?
    goes: crawled into the deep, dark cave
    danger: Something moved in the corner. It was a big brown bear
    does: gave the bear some honey and asked it to be their friend
    finds: a soft bed of leaves, just right for two

    name: a row of kitchen chairs
    turns: a train
    calls: All aboard!
    goes: drove over the hills and through the long tunnel
    danger: There was a cow on the track
    does: rang the bell and asked the cow to move, please
    finds: a town where everything was made of cake

    name: the old sofa
    turns: a plane
    calls: Ready to fly!
    goes: flew up over the clouds
    danger: A storm came, and the plane shook
    does: held each other's hands and flew around the storm
    finds: a cloud that looked like a castle

    name: a round basket
    turns: a rocket
    calls: Three, two, one, go!
    goes: flew past the moon and past the stars
    danger: A little green man stood in front of them and looked very sad
    does: gave him a cookie, and he smiled and waved with all his arms
    finds: a star that was small enough to take home

    name: two brooms
    turns: two horses
    calls: Giddy up!
    goes: rode through the tall grass to the old castle
    danger: A dragon sat on the tower and would not let them in
    does: told the dragon a joke, and it laughed so hard that it fell asleep
    finds: a room full of golden crowns
    """
)


def pretending(t: Teller) -> str:
    people.child(t)
    people.another_child(t)
    people.family(t)
    t.cast_from(game=PRETENDING)
    return """
    {opening}
    ? {loves}
    {He} could make a game out of anything.
    | {He} loved to play pretend.

    {one_day} was bored. It was raining. Then {friend.a} came to play.
    | {one_day} had no idea what to play. "What can we do?" {he} asked {friend.a}.
    {Hero} saw {game}. "[I know|I have an idea]!" {he} said. "Let us pretend that we have {game.turns}!"
    "[Yes|Good idea]!" said {friend}. "{game.calls}"
    | They put on [funny|big|old] hats and got ready. "{game.calls}" shouted {friend}.
    ? {Hero} was the captain, and {friend} was the best helper in the world.

    They {game.goes}. [It was wonderful.|]
    [Suddenly, there was trouble.|But then {friend} pointed with one finger.] {game.danger}!
    ? "[What do we do now?|Oh no, look!]" cried {friend}.
    "[Do not be afraid|I know what to do]," said {hero}. They {game.does}.
    | But {hero} and {friend} were brave. They {game.does}.
    After that, they went on and found {game.finds}.
    | When it was over, they looked around. They had found {game.finds}!
    ? "We are the first ones here!" said {hero}.

    "[Dinner is ready|Come and eat]!" called {helper}. They looked around. They were at home again with {game}.
    | "[What are you doing|Where have you been]?" asked {helper}. "[Far, far away|You will not believe it]!" said {hero}, and \
    they both laughed.
    ? They told {helper} all about it. "May I come with you next time?" asked {helper}.
    | {happy}
    "Tomorrow we will go again!" said {friend}.
    | {Hero} learned that you do not need many toys to have fun.
    ? {good_night}
    """


TREASURES = columns(
    "name; joy",
    """
    two golden paper crowns; They put them on and were king and queen for the rest of the day.
    a bag of chocolate coins; They ate one half and kept the other half for later.
    two little flashlights; That night, they made stars on the wall.
    a book of stories; They sat down under the tree and read the first story at once.
    a picture of {helper} as a little child; "You looked just like me!" said {hero}, and they all laughed.
    a whistle for each of them; They blew so loudly that all the birds flew up.
    two cups and a bottle of juice; They sat in the grass and had a party.
    """,
)
CLUES = words(
    "the old apple tree, the big gray rock, the garden gate, the wooden bench, the red swing, the little bridge, the water pump, "
    "the rose bush, the bird house, the sandbox"
)


def treasure(t: Teller) -> str:
    people.child(t)
    people.another_child(t)
    people.family(t)
    t.cast_from(clue1=CLUES, clue2=CLUES, clue3=CLUES, chest=TREASURES, steps=words("five, ten, twelve, twenty"))
    return """
    {opening}
    ? {loves}
    {He} dreamed of finding a treasure one day.
    | {He} liked stories about pirates and treasures.

    {one_day} found an old piece of paper in a book. It was a map! "Look at this!" {he} said to {friend.a}.
    | {one_day} got a letter without a name. There was a map in it. {He} showed it to {friend.a}.
    The map said, "Start at {clue1}." They ran to {clue1}[ as fast as they could|].
    | "It starts at {clue1}," said {friend}. So they went to {clue1}.
    There, they found a piece of paper. "{Steps} steps to {clue2}," {hero} read.
    | "Now {steps} steps to {clue2}," said {hero}. They counted together.
    ? "Are we lost?" asked {friend}. "No," said {hero}. "We just have to look at the map again."
    | They walked the wrong way first and came to a wall. They laughed and turned around.
    At {clue2}, there was nothing. "Do not give up," said {friend}. "Look again!" There was a small arrow. It pointed to {clue3}.
    | At {clue2}, {friend} saw a small arrow. It pointed to {clue3}.

    They dug [in the ground|with their hands] under {clue3}, and soon they hit something hard. It was a box!
    | Behind {clue3}, under some leaves, there was a little box.
    They opened it together. Inside, they found {chest}!
    | "You open it," said {friend}. {Hero} lifted the lid and found {chest}!
    Then {helper} came around the corner and smiled. "[You found it|I see that you can read a map]," {helper.he} said.
    | And who stood behind them and laughed? It was {helper}! {Helper.He} had made the map.
    {chest.joy}
    ? {happy}
    ? "[The best part was looking for it|That was so much fun]," said {friend}.
    | {Hero} learned that two friends can find anything.
    ? {ever_after}
    """
