"""What the pocket world is made of: objects, colours, sign words, and the small nutrition table.

One table, read by the renderer, the annotation writers and the base model's text. The order of
OBJECTS is the order of the sprites in `sprites.png` (row by row); append, never reorder.
"""

from typing import NamedTuple


class Thing(NamedTuple):
    """An everyday object; `emoji` is what its sprite was rendered from."""

    name: str
    plural: str
    category: str
    emoji: str


OBJECTS: tuple[Thing, ...] = (
    Thing("apple", "apples", "fruit", "\U0001f34e"),
    Thing("banana", "bananas", "fruit", "\U0001f34c"),
    Thing("tangerine", "tangerines", "fruit", "\U0001f34a"),
    Thing("grapes", "bunches of grapes", "fruit", "\U0001f347"),
    Thing("pear", "pears", "fruit", "\U0001f350"),
    Thing("strawberry", "strawberries", "fruit", "\U0001f353"),
    Thing("pineapple", "pineapples", "fruit", "\U0001f34d"),
    Thing("watermelon", "watermelons", "fruit", "\U0001f349"),
    Thing("bread", "loaves of bread", "food", "\U0001f35e"),
    Thing("cheese", "pieces of cheese", "food", "\U0001f9c0"),
    Thing("carrot", "carrots", "food", "\U0001f955"),
    Thing("broccoli", "heads of broccoli", "food", "\U0001f966"),
    Thing("egg", "eggs", "food", "\U0001f95a"),
    Thing("mushroom", "mushrooms", "food", "\U0001f344"),
    Thing("corn", "ears of corn", "food", "\U0001f33d"),
    Thing("cookie", "cookies", "food", "\U0001f36a"),
    Thing("dog", "dogs", "animal", "\U0001f436"),
    Thing("cat", "cats", "animal", "\U0001f408"),
    Thing("horse", "horses", "animal", "\U0001f40e"),
    Thing("elephant", "elephants", "animal", "\U0001f418"),
    Thing("fish", "fish", "animal", "\U0001f41f"),
    Thing("frog", "frogs", "animal", "\U0001f438"),
    Thing("penguin", "penguins", "animal", "\U0001f427"),
    Thing("butterfly", "butterflies", "animal", "\U0001f98b"),
    Thing("car", "cars", "vehicle", "\U0001f697"),
    Thing("bus", "buses", "vehicle", "\U0001f68c"),
    Thing("bicycle", "bicycles", "vehicle", "\U0001f6b2"),
    Thing("airplane", "airplanes", "vehicle", "\u2708\ufe0f"),
    Thing("boat", "boats", "vehicle", "\u26f5"),
    Thing("rocket", "rockets", "vehicle", "\U0001f680"),
    Thing("train", "trains", "vehicle", "\U0001f686"),
    Thing("tractor", "tractors", "vehicle", "\U0001f69c"),
    Thing("chair", "chairs", "item", "\U0001fa91"),
    Thing("clock", "clocks", "item", "\u23f0"),
    Thing("book", "books", "item", "\U0001f4d5"),
    Thing("umbrella", "umbrellas", "item", "\u2602\ufe0f"),
    Thing("key", "keys", "item", "\U0001f511"),
    Thing("ball", "balls", "item", "\u26bd"),
    Thing("hat", "hats", "item", "\U0001f3a9"),
    Thing("guitar", "guitars", "item", "\U0001f3b8"),
)
BY_NAME = {thing.name: thing for thing in OBJECTS}
CATEGORIES: tuple[str, ...] = ("fruit", "food", "animal", "vehicle", "item")
FRUIT: tuple[str, ...] = tuple(thing.name for thing in OBJECTS if thing.category == "fruit")
GROCERIES: tuple[str, ...] = tuple(
    thing.name for thing in OBJECTS if thing.category in ("fruit", "food")
)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 64, 60),
    "blue": (66, 112, 214),
    "green": (72, 160, 84),
    "yellow": (238, 206, 72),
    "purple": (140, 82, 178),
    "pink": (240, 158, 190),
    "gray": (142, 144, 148),
    "white": (246, 246, 242),
}

SIGN_WORDS: tuple[str, ...] = (
    "STOP", "OPEN", "SALE", "EXIT", "TAXI", "CAFE", "BANK", "PARK", "ZOO", "MILK", "FREE", "SLOW",
    "HOTEL", "PIZZA", "BAKERY", "NORTH", "SOUTH", "LUNCH", "MUSEUM", "SCHOOL", "MARKET", "GARAGE",
    "TICKET", "FERRY",
)  # fmt: skip


class Nutrition(NamedTuple):
    """What 100 g of a raw fruit hold, rounded as food labels are (USDA FoodData Central)."""

    calories: int
    """kcal"""
    carbohydrate: int
    """g"""
    protein: int
    """g"""
    fat: int
    """g"""


NUTRITION: dict[str, Nutrition] = {
    "apple": Nutrition(52, 14, 0, 0),
    "banana": Nutrition(89, 23, 1, 0),
    "tangerine": Nutrition(53, 13, 1, 0),
    "grapes": Nutrition(69, 18, 1, 0),
    "pear": Nutrition(57, 15, 0, 0),
    "strawberry": Nutrition(32, 8, 1, 0),
    "pineapple": Nutrition(50, 13, 1, 0),
    "watermelon": Nutrition(30, 8, 1, 0),
}
