"""The plots. A new one is a function that casts its slots and returns its text, and an entry in PLOTS."""

from collections.abc import Callable

from tinylm.download.sample.notation import Teller
from tinylm.download.sample.plots import (
    adventures,
    animals,
    feelings,
    friends,
    home,
    learning,
    lost,
    making,
    mending,
    outdoors,
    races,
    rescue,
    waiting,
    wonders,
)

Plot = Callable[[Teller], str]

PLOTS: tuple[Plot, ...] = (
    lost.lost_thing,
    lost.lost_in_crowd,
    mending.broken_thing,
    mending.mistake,
    making.gift,
    making.cooking,
    waiting.waiting,
    waiting.planting,
    home.ill,
    home.bedtime,
    home.messy_room,
    feelings.afraid,
    feelings.envy,
    feelings.new_baby,
    learning.learning,
    learning.first_try,
    friends.sharing,
    friends.new_friend,
    races.kind_race,
    races.steady_race,
    races.boast,
    rescue.hurt_animal,
    rescue.cry_for_help,
    animals.odd_one,
    animals.too_heavy,
    animals.new_home,
    outdoors.bad_weather,
    outdoors.warning,
    adventures.secret_place,
    adventures.pretending,
    adventures.treasure,
    wonders.wish,
    wonders.forgotten_toy,
)
