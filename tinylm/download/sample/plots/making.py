"""Plots about making: a gift, and a meal with something missing."""

from tinylm.download.sample import people
from tinylm.download.sample.notation import Teller, records

GIFTS = records(
    """
    name: card
    plan: I can make a card
    make: {He} took [red|blue|green] paper and drew a big heart on it.
    oops: Then a drop of water fell on the paper, and the heart got a spot.
    mend: But {hero} made the spot into a little sun.
    joy: {Dear} put the card on the wall where everyone could see it.

    name: necklace
    plan: I can make a necklace
    make: {He} found many little shells and put them on a string, one by one.
    oops: Then the string broke, and all the shells fell on the floor.
    mend: {Hero} picked them all up and used a stronger string.
    joy: {Dear} put the necklace on and did not want to take it off.

    name: picture
    plan: I can paint a picture
    make: {He} painted a house, a tree and a family holding hands.
    oops: Then the cat walked over the picture and left a paw print.
    mend: {Hero} looked at it and laughed. {He} painted a cat next to the paw print.
    joy: {Dear} hung the picture over the bed and looked at it every day.

    name: crown
    plan: I can make a crown
    make: {He} cut a crown out of paper and painted it yellow like gold.
    oops: But the crown was too small. It did not even fit on an apple.
    mend: So {hero} made a bigger one and put shiny stars on it.
    joy: {Dear} wore the crown all day long, even at dinner.

    name: stone
    plan: I can paint a stone
    make: {He} found a smooth stone in the garden and painted it like a ladybug, red with black dots.
    oops: But {he} touched it too soon, and the paint got all over {his} hands.
    mend: {Hero} washed {his} hands, painted the stone again, and waited until it was dry.
    joy: {Dear} put the stone by the window. "It looks like it could walk away!" {dear.he} said.

    name: basket
    plan: I can fill a basket with flowers
    make: {He} went to the field and picked yellow, blue and white flowers.
    oops: On the way home, {he} fell, and some of the flowers broke.
    mend: {Hero} went back and picked new ones.
    joy: {Dear} smelled the flowers and put them in the middle of the table.

    name: puppet
    plan: I can make a puppet
    make: {He} took an old sock and glued on two buttons for the eyes.
    oops: Then {he} saw that one eye was too low, and the puppet looked silly.
    mend: {Hero} gave it a big red smile, and now the silly face was very funny.
    joy: {Dear} made the puppet talk in a funny voice, and everyone laughed.

    name: bird house
    plan: I can make a bird house
    make: {He} took an old box, made a round door in it, and painted it green.
    oops: But the roof fell off when {he} lifted it.
    mend: {Hero} put a lot of glue on the roof and held it for a long time.
    joy: {Dear} put it in a tree, and the next day, a little bird moved in.
    """
)


def gift(t: Teller) -> str:
    people.child(t)
    people.family(t, "dear")
    people.family(t)
    t.cast_from(gift=GIFTS)
    return """
    {opening}
    ? {loves}
    {He} loved {dear} very much.
    | {He} and {dear} did many things together.
    | {He} liked to be with {dear} more than with anyone else.
    ? They played together every day.

    {one_day} remembered that it was {dear}'s birthday. But {he} had no gift!
    | {one_day} found out that it was almost {dear}'s birthday. {He} wanted to give {dear.him} something special.
    ? {He} looked in {his} piggy bank, but there [were only two coins|was only one coin] in it.
    | {He} had no money to buy a gift.
    ? {sad}
    "What can I do? I have no gift for {dear.call}," {he} said to {helper}.
    | {asks} "I have no gift for {dear.call}," said {hero}.
    "The best gifts are made with love," said {helper}.
    | "You do not need money," said {helper}. "You can make something."
    ? {Hero} thought for a [long time|while].
    "I know!" said {hero}. "{gift.plan}!"
    | Then {hero} had [an|a good] idea. "{gift.plan}!" {he} said.

    {gift.make}
    ? {gift.oops} [{Hero} was sad for a moment.|"Oh no!" said {hero}.|] {gift.mend}

    [At last|When the day came|The next day], {hero} gave the {gift} to {dear}. "Happy birthday!" {he} said. "I made it for you."
    "[It is beautiful|I love it|This is the best gift of all]!" said {dear}, and gave {him} a big hug.
    | "Did you make this for me?" asked {dear}. "It is the best gift ever!"
    {gift.joy}
    ? {happy}
    {Hero} learned that [the best gifts come from the heart|a gift does not have to cost money].
    | It was the best gift of all because {hero} had made it with love.
    ? {ever_after}
    """


DISHES = records(
    """
    name: cake
    a: a cake
    steps: They put flour, sugar and milk into a big bowl. {Hero} [mixed and mixed|mixed it with a big spoon].
    missing: eggs
    oops: Then {hero} looked into the egg box, but it was empty!
    wait: They put the cake in the oven, and soon the whole house smelled good.
    taste: The cake was soft and sweet.
    piece: [a|a big] piece of cake

    name: soup
    a: soup
    steps: They washed the carrots and cut the potatoes. {Hero} put them into the big pot.
    missing: salt
    oops: {Hero} tasted the soup. It was not good! They had forgotten the salt, and the salt jar was empty.
    wait: They put in the salt, and the soup went blub, blub, blub on the stove.
    taste: The soup was warm and very good.
    piece: a bowl of soup

    name: apple pie
    a: a apple pie
    steps: {Hero} washed the apples, and {helper} cut them into little pieces.
    missing: sugar
    oops: But when they wanted to make it sweet, there was no sugar in the jar.
    wait: They put the pie in the oven and watched it turn brown.
    taste: The pie was warm and sweet.
    piece: [a|a big] piece of pie

    name: pizza
    a: a pizza
    steps: {Hero} pushed the dough with both hands until it was flat and round.
    missing: cheese
    oops: Then {helper} opened the fridge. There was no cheese!
    wait: They put the cheese on top, and the pizza went into the hot oven.
    taste: The pizza was hot and so good.
    piece: [a|a big] piece of pizza

    name: pancakes
    a: pancakes
    steps: They put flour and two eggs into a bowl. {Hero} held the spoon with both hands.
    missing: milk
    oops: But the milk bottle was empty. Only one drop came out.
    wait: Now they could mix it all. One by one, the pancakes turned brown in the hot pan.
    taste: The pancakes were warm and soft.
    piece: a plate of pancakes

    name: cookies
    a: cookies
    steps: They mixed butter, flour and sugar. {Hero} cut the dough into stars and hearts.
    missing: raisins
    oops: {Hero} wanted to give each cookie a face, but there were no raisins for the eyes.
    wait: When all the cookies had a face, they put them in the oven.
    taste: The cookies were sweet and good.
    piece: a bag of cookies

    name: fruit salad
    a: a fruit salad
    steps: {Hero} washed the apples and the grapes, and {helper} cut the oranges.
    missing: bananas
    oops: But the best part of a fruit salad is the bananas, and there were no bananas at home.
    wait: They cut the bananas and mixed all the fruit in a big bowl.
    taste: The fruit salad was sweet and fresh.
    piece: a bowl of fruit salad

    name: muffins
    a: muffins
    steps: They put flour, eggs and milk into a bowl. {Hero} mixed it all with a big spoon.
    missing: blueberries
    oops: But then they saw that there were no blueberries, not even one.
    wait: They put the blueberries in, and the muffins grew big and round in the oven.
    taste: The muffins were warm and sweet.
    piece: a plate of muffins
    """
)


def cooking(t: Teller) -> str:
    people.child(t)
    people.family(t)
    people.neighbour(t)
    t.cast_from(dish=DISHES)
    return """
    {opening}
    ? {loves}
    {He} liked to help in the kitchen.
    | {He} was always hungry.
    | {His} favorite food was {dish}.

    {one_day} wanted to make {dish.a}. "[Can you help me|Can we do it together|May I cook with you]?" {he} asked {helper}.
    | {one_day} was hungry. "Let us make {dish.a}!" {he} said to {helper}.
    "[Yes, let us start|Good idea|Yes, of course]," said {helper}.[ "But first, wash your hands."|]
    ? {Hero} put on a big [white|red|blue] apron. It went all the way down to {his} feet.
    {dish.steps}
    ? They laughed and sang while they worked.
    {dish.oops}

    ? "[What do we do now|What can we do]?" {hero} asked.
    | "Now we cannot finish it," said {hero} in a sad voice.
    "Let us ask {neighbour}," said {helper}. "[Maybe {neighbour.he} has some {dish.missing}|{neighbour.He} lives next door]."
    | {Helper} thought for a moment. "Let us ask {neighbour} next door," {helper.he} said.
    {Hero} ran to the house next door. "[Hello|Good morning], {neighbour}! Do you have some {dish.missing} for us, please?"
    "Of course," said {neighbour}, and gave {him} the {dish.missing}.
    | "Here you are," said {neighbour}, and gave {him} the {dish.missing}.
    | {Neighbour} smiled and gave {him} the {dish.missing}.
    ? "What are you making?" {neighbour.he} asked. "We are making {dish.a}!" said {hero}.
    | "Thank you!" said {hero}. "There will be {dish} for you too!"
    {dish.wait}

    Soon {neighbour} came, and they all sat down [at the table|to eat]. {dish.taste}
    | When all was done, {hero} took {dish.piece} to {neighbour}. "Thank you for your help," {he} said.
    ? "[I have never had better {dish}|You are a good cook]!" said {neighbour}.
    {happy}
    | {Hero} learned that food tastes best when you share it.
    | {Hero} ate until {he} was full. "Tomorrow, I want to cook again!" {he} said.
    ? {ever_after}
    """
