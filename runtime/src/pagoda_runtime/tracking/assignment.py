"""Who goes with whom at the least total cost. N rows, M columns.

Shortest augmenting paths (Jonker & Volgenant 1987, as Crouse 2016 has it for rectangular costs): row by row, the
cheapest way to give one more row a column, along which rows given before may change theirs. Among columns equally
near, one that is free is taken, the last of them in the order kept here; scipy decides so, too, so that ties end alike.
"""

import numpy as np


def linear_sum_assignment(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """min(N, M) rows and their columns, by rows, of (N, M) finite costs: what scipy's function of this name gives."""
    if costs.shape[0] > costs.shape[1]:
        columns, rows = linear_sum_assignment(costs.T)
        order = rows.argsort()
        return rows[order], columns[order]
    num_rows, num_columns = costs.shape
    row_price, column_price = np.zeros(num_rows), np.zeros(num_columns)
    row_of, column_of = np.full(num_columns, -1), np.full(num_rows, -1)
    for row in range(num_rows):
        end, length, distance, before, passed = _shortest_path(costs, row, row_price, column_price, row_of)
        on_the_way = row_of[passed[passed != end]]
        row_price[row] += length
        row_price[on_the_way] += length - distance[column_of[on_the_way]]
        column_price[passed] -= length - distance[passed]
        column = end
        while True:
            giver = before[column]
            row_of[column] = giver
            column_of[giver], column = column, column_of[giver]
            if giver == row:
                break
    return np.arange(num_rows), column_of


def _shortest_path(
    costs: np.ndarray, row: int, row_price: np.ndarray, column_price: np.ndarray, row_of: np.ndarray
) -> tuple[int, float, np.ndarray, np.ndarray, np.ndarray]:
    """From a row to the nearest free column: (that column, how far it is, distances (M,), rows before each column
    (M,), the columns passed)."""
    num_columns = len(row_of)
    distance, before = np.full(num_columns, np.inf), np.full(num_columns, -1)
    left, passed, length = np.arange(num_columns)[::-1].copy(), [], 0.0
    while True:
        through = length + costs[row, left] - row_price[row] - column_price[left]
        nearer = through < distance[left]
        distance[left[nearer]], before[left[nearer]] = through[nearer], row
        length = distance[left].min()
        nearest = np.flatnonzero(distance[left] == length)
        free = nearest[row_of[left[nearest]] < 0]
        place = free[-1] if len(free) else nearest[0]
        column = int(left[place])
        passed.append(column)
        if row_of[column] < 0:
            return column, float(length), distance, before, np.array(passed)
        row = int(row_of[column])
        left[place] = left[-1]
        left = left[:-1]
