"""The figures Specter promises, measured: ``make bench`` prints figure, budget, measured value and verdict."""
