"""How often OpenVINO compiles; whether it finds the same is asked beside the model (test_parity.py)."""

import pytest

from pagoda_runtime import backends


class Graph:
    """What is asked of an openvino.Model."""

    def __init__(self, shape=None):
        self.shape = shape

    def is_dynamic(self):
        return self.shape is None

    def clone(self):
        return Graph(self.shape)

    def reshape(self, shapes):
        self.shape = tuple(shapes[0])


@pytest.fixture
def compiled():
    """The shapes that were compiled, in order."""
    return []


def shaped(compiled, shape=None):
    def compile_model(graph):
        compiled.append(graph.shape)
        return graph.shape

    return backends._ShapedModel(Graph(shape), compile_model)


def test_a_shape_gets_a_model_of_its_own_when_it_comes_often(compiled):
    model = shaped(compiled)
    seen = [model.of((1, 3, 8, 8)) for _ in range(backends.OFTEN + 3)]
    assert seen == [None] * (backends.OFTEN - 1) + [(1, 3, 8, 8)] * 4
    assert compiled == [None, (1, 3, 8, 8)]
    assert model.of((1, 3, 8, 16)) is None


def test_the_oldest_goes(compiled):
    model = shaped(compiled)
    shapes = [(2, 3, 8, side) for side in range(backends.FIXED_SHAPES + 1)]
    for shape in (*shapes, shapes[0]):
        assert {model.of(shape) for _ in range(backends.OFTEN)} == {None, shape}
    assert len(compiled) == len(shapes) + 2


def test_a_file_of_one_size_is_compiled_once(compiled):
    model = shaped(compiled, (1, 3, 8, 8))
    assert {model.of((1, 3, 8, 8)) for _ in range(2 * backends.OFTEN)} == {(1, 3, 8, 8)}
    assert len(compiled) == 1
