"""From a recipe to what a method sees in a round."""
