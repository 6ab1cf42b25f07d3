"""Whatever lies in the cache, the ranking is the one of these inputs."""

import json
import multiprocessing
import shutil
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faults import delete, mutate, mutations
from hypothesis import given, settings
from safetensors import safe_open
from safetensors.numpy import save_file
from tiny_run import make_bench

from trimwave.base.errors import DamagedError
from trimwave.lm.cached_ranking import _key, cached_ranking
from trimwave.lm.surgery.ranking import Ranking


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(folder / "cache"))
        return make_bench(folder, "llama", ())


@pytest.fixture(scope="module")
def kept(bench, tmp_path_factory):
    """A cache with the ranking of the bench under its key, and of another."""
    cache = tmp_path_factory.mktemp("kept")
    rank(bench, cache)
    rank(bench, cache, seed=5, criterion="random")
    mine = cache / "rankings" / f"{_key(bench.config, bench.split, [])}.safetensors"
    assert mine.is_file() and len(list(mine.parent.iterdir())) == 2
    return cache, mine.name


def rank(bench, cache, said=None, *, seed=0, criterion="magnitude"):
    """Return the ranking, and leave what was said in a list."""
    prune = replace(bench.config.prune, criterion=criterion)
    config = replace(bench.config, prune=prune, seed=seed)
    say = (said if said is not None else []).append
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(cache))
        return cached_ranking(config, bench.split, [], 0, say)


def test_the_second_time_nothing_is_computed(bench, kept):
    said = []
    assert rank(bench, kept[0], said).digest() == bench.ranking.digest()
    assert said == []


@settings(max_examples=60)
@given(mutation=mutations(("ranking",)))
def test_a_mutated_ranking_is_computed_again_with_a_word(bench, kept, mutation):
    source, name = kept
    _, kind, seed = mutation
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(shutil.copytree(source, Path(scratch) / "cache"))
        mutate(cache / "rankings" / name, kind, seed)
        said = []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = rank(bench, cache, said)
        assert found.digest() == bench.ranking.digest()
        assert bool(caught) == bool(said) or kind is delete
        assert all("computed again" in str(word.message) for word in caught)
        again = []  # mended on the way
        assert rank(bench, cache, again).digest() == found.digest() and not again


def test_the_ranking_of_other_inputs_is_not_taken(bench, kept, tmp_path):
    shutil.copytree(kept[0], tmp_path / "cache")
    mine, other = sorted(
        (tmp_path / "cache" / "rankings").iterdir(),
        key=lambda file: file.name != kept[1],
    )
    shutil.copy(other, mine)
    with pytest.warns(UserWarning, match="of something else.*computed again"):
        assert rank(bench, tmp_path / "cache").digest() == bench.ranking.digest()


def test_a_ranking_of_before_0_4_is_computed_again(bench, kept, tmp_path):
    with safe_open(kept[0] / "rankings" / kept[1], framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        metadata = {"ranking": file.metadata()["ranking"]}
    (tmp_path / "rankings").mkdir()
    save_file(arrays, tmp_path / "rankings" / kept[1], metadata=metadata)
    with pytest.warns(UserWarning, match=r"before 0\.4\. The ranking is comp"):
        assert rank(bench, tmp_path).digest() == bench.ranking.digest()


@pytest.mark.parametrize("dtype", [np.uint64, np.int32, np.float64])
def test_the_same_numbers_in_another_type_are_refused(bench, kept, tmp_path, dtype):
    with safe_open(kept[0] / "rankings" / kept[1], framework="numpy") as file:
        arrays = {name: file.get_tensor(name).astype(dtype) for name in file.keys()}
        save_file(arrays, tmp_path / "x.safetensors", metadata=file.metadata())
    with pytest.raises(DamagedError, match="damaged"):
        Ranking.load(tmp_path / "x.safetensors", kept[1].removesuffix(".safetensors"))


def test_a_run_goes_on_where_the_cache_cannot_be_written_or_read(bench, kept, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning) as caught:
        found = rank(bench, tmp_path / "file")
    assert found.digest() == bench.ranking.digest()
    assert any("is not kept" in str(word.message) for word in caught)


def test_what_a_config_says_beyond_its_tensors_is_in_the_key(bench):
    before = _key(bench.config, bench.split, [])
    config = json.loads(bench.split.shell.config.to_json_string())
    other = type(bench.split.shell.config)(**{**config, "rms_norm_eps": 0.5})
    shell = bench.split.with_head(bench.split.head).shell
    shell.config = other
    assert _key(bench.config, replace(bench.split, shell=shell), []) != before


def test_where_the_model_is_split_is_in_the_key(bench, kept):
    moved = replace(bench, split=bench.split.split_at(2))
    assert bench.ranking.num_blocks == 3
    assert rank(moved, kept[0]).num_blocks == 2


def save_often(ranking, path):
    for _ in range(30):
        ranking.save(path, "key")


def test_two_processes_may_write_at_once(bench, tmp_path):
    path = tmp_path / "r.safetensors"
    bench.ranking.save(path, "key")
    fork = multiprocessing.get_context("fork")
    writers = [
        fork.Process(target=save_often, args=(bench.ranking, path)) for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert Ranking.load(path, "key").digest() == bench.ranking.digest()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert [file.name for file in tmp_path.iterdir()] == ["r.safetensors"]
