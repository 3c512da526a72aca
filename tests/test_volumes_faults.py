"""What stops a run leaves it whole: kills, full disks, damaged sources, other runs."""

import errno
import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import zarr

import jaxdecon as jd
from jaxdecon.volumes import _task

from . import _volumes
from ._volumes import BLOCK, OPTIONS, PSF, digest


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return _volumes.write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def undisturbed(source):
    target = source.parent / "undisturbed.ome.zarr"
    jd.volumes.deconvolve(source, target, PSF, **OPTIONS)
    return digest(target)


def copy(source, folder):
    """A source of its own, which may be damaged."""
    path = folder / "copy.ome.zarr"
    jd.io.write(path, jd.io.read(source))
    return path


def markers(target):
    return sorted((target.parent / f"{target.name}.journal").glob("*/blocks/*.json"))


@pytest.mark.slow
def test_a_killed_process_is_taken_up_and_ends_with_the_same_bytes(
    tmp_path, source, undisturbed
):
    target = tmp_path / "killed.ome.zarr"
    with _volumes.start(source, target, pause=0.2) as process:
        for line in process.stdout or ():
            if line == "block 3\n":
                break
        process.send_signal(signal.SIGKILL)
    assert not target.exists()
    before = len(markers(target))
    assert 3 <= before < 9
    run = jd.volumes.deconvolve(source, target, PSF, **OPTIONS)
    assert run.blocks == 9 - before
    assert digest(target) == undisturbed


def test_a_stopped_run_goes_on_where_it_was(tmp_path, source, undisturbed):
    target = tmp_path / "stopped.ome.zarr"

    def stop(progress):
        if progress.blocks == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jd.volumes.deconvolve(source, target, PSF, progress=stop, **OPTIONS)
    assert not target.exists()
    before = len(markers(target))
    assert 4 <= before < 9
    plan = []
    run = jd.volumes.deconvolve(source, target, PSF, show_plan=plan.append, **OPTIONS)
    assert f"{before} done before" in str(plan[0])
    assert run.blocks == 9 - before
    assert digest(target) == undisturbed
    log = (tmp_path / "stopped.ome.zarr.journal" / "log.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in log]
    assert events.count("begin") == 2
    assert events.count("stopped") == 1
    assert events[-1] == "end"
    assert jd.volumes.deconvolve(source, target, PSF, **OPTIONS).blocks == 0


def test_a_block_without_marker_is_written_again(tmp_path, source, undisturbed):
    """As if the process had been killed while it wrote that block."""
    target = tmp_path / "torn.ome.zarr"

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jd.volumes.deconvolve(source, target, PSF, progress=stop, **OPTIONS)
    shards = json.loads(markers(target)[0].read_text())["shards"]
    (store,) = (tmp_path / "torn.ome.zarr.journal").glob("*/unfinished.ome.zarr")
    for shard in shards:
        data = (store / shard).read_bytes()
        (store / shard).write_bytes(data[: len(data) // 2])
    markers(target)[0].unlink()
    jd.volumes.deconvolve(source, target, PSF, **OPTIONS)
    assert digest(target) == undisturbed


def test_a_run_killed_in_its_last_moment_is_finished(tmp_path, source, undisturbed):
    """The result has its name, and the manifest does not say so yet."""
    target = tmp_path / "last.ome.zarr"
    jd.volumes.deconvolve(source, target, PSF, **OPTIONS)
    file = tmp_path / "last.ome.zarr.journal" / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["finished"]
    file.write_text(json.dumps(manifest))
    assert jd.volumes.deconvolve(source, target, PSF, **OPTIONS).blocks == 0
    assert json.loads(file.read_text())["finished"]
    assert digest(target) == undisturbed


def interrupted(source, target):
    """A run that was stopped after a block."""

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jd.volumes.deconvolve(source, target, PSF, progress=stop, **OPTIONS)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"iterations": 4}, r"iterations \(3 before, 4 now\)"),
        ({"background": 11.0}, "background"),
        ({"block": (24, 64, 32)}, "block"),
        ({"dtype": "uint16"}, "dtype"),
        ({"back_projector": "gaussian"}, "back_projector"),
    ],
)
def test_other_options_are_refused(tmp_path, source, change, named):
    target = tmp_path / "x.ome.zarr"
    interrupted(source, target)
    with pytest.raises(jd.volumes.RunRefused, match=named):
        jd.volumes.deconvolve(source, target, PSF, **(OPTIONS | change))


def test_a_changed_source_is_refused_and_a_new_beginning_is_not(tmp_path, source):
    mine, target = copy(source, tmp_path), tmp_path / "x.ome.zarr"
    interrupted(mine, target)
    array = zarr.open_group(mine, mode="r+")["0"]
    array[0, 0, 0] = int(array[0, 0, 0]) + 1
    with pytest.raises(jd.volumes.RunRefused, match=r"sources\.0\.files"):
        jd.volumes.deconvolve(mine, target, PSF, **OPTIONS)
    run = jd.volumes.deconvolve(mine, target, PSF, resume=False, **OPTIONS)
    assert run.blocks == 9


def test_a_finished_target_is_replaced_only_when_asked(tmp_path, source, undisturbed):
    target = tmp_path / "x.ome.zarr"
    jd.volumes.deconvolve(source, target, PSF, **OPTIONS)
    changed = OPTIONS | {"iterations": 1}
    with pytest.raises(jd.volumes.RunRefused, match="iterations"):
        jd.volumes.deconvolve(source, target, PSF, **changed)
    with pytest.raises(FileExistsError, match="overwrite"):
        jd.volumes.deconvolve(source, target, PSF, resume=False, **changed)
    assert digest(target) == undisturbed
    jd.volumes.deconvolve(source, target, PSF, overwrite=True, **changed)
    assert digest(target) != undisturbed
    (target / "0" / "extra").write_text("x")
    with pytest.raises(jd.volumes.RunRefused, match="has been changed since"):
        jd.volumes.deconvolve(source, target, PSF, **changed)
    jd.io.write(tmp_path / "y.ome.zarr", np.zeros((8, 8, 8)))
    with pytest.raises(FileExistsError, match=r"y\.ome\.zarr exists"):
        jd.volumes.deconvolve(source, tmp_path / "y.ome.zarr", PSF, **OPTIONS)


def test_two_runs_on_one_target_exclude_each_other(tmp_path, source):
    target = tmp_path / "x.ome.zarr"
    refused = []

    def another(progress):
        try:
            jd.volumes.deconvolve(source, target, PSF, **OPTIONS)
        except jd.volumes.RunRefused as error:
            refused.append(str(error))

    jd.volumes.deconvolve(source, target, PSF, progress=another, **OPTIONS)
    assert len(refused) == 9
    assert "another run is writing" in refused[0]


def test_a_full_disk_stops_the_run_and_leaves_what_is_done(
    tmp_path, source, undisturbed, monkeypatch
):
    """The third block meets a disk without room, as a file size limit makes one."""
    target = tmp_path / "full.ome.zarr"
    write, count = _task.Task.finish, []

    def finish(self, *arguments, **options):
        count.append(1)
        if len(count) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(_task.Task, "finish", finish)
        with pytest.raises(OSError, match="No space left"):
            jd.volumes.deconvolve(source, target, PSF, **OPTIONS)
    assert not target.exists()
    assert len(markers(target)) == 2
    jd.volumes.deconvolve(source, target, PSF, **OPTIONS)
    assert digest(target) == undisturbed


def test_a_corrupt_chunk_fails_its_blocks_alone(tmp_path, source, undisturbed):
    """Of a source in nine files; it is mended, and the run goes on."""
    mine, target = tmp_path / "copy.zarr", tmp_path / "x.ome.zarr"
    data = np.asarray(jd.io.read(source))
    array = zarr.create_array(mine, shape=data.shape, chunks=BLOCK, dtype=data.dtype)
    array[...] = data
    chunk = mine / "c/0/2/2"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(jd.volumes.BlocksFailed, match="cannot be read") as caught:
        jd.volumes.deconvolve(array, target, PSF, **OPTIONS)
    assert set(caught.value.failed) <= {"0.32.32", "0.32.64", "0.64.32", "0.64.64"}
    assert "0.64.64" in caught.value.failed
    assert len(markers(target)) == 9 - len(caught.value.failed)
    assert not target.exists()
    chunk.write_bytes(whole)
    with pytest.raises(jd.volumes.RunRefused, match="files"):
        jd.volumes.deconvolve(array, target, PSF, **OPTIONS)
    run = jd.volumes.deconvolve(array, target, PSF, resume="trust", **OPTIONS)
    assert run.blocks == len(caught.value.failed)
    found = {n: d for n, d in digest(target).items() if n.startswith("0/c/")}
    assert found == {n: d for n, d in undisturbed.items() if n.startswith("0/c/")}


def test_a_source_that_changes_meanwhile_is_told(tmp_path, source, undisturbed):
    mine, target = copy(source, tmp_path), tmp_path / "x.ome.zarr"

    def change(progress):
        if progress.blocks == 1:
            (mine / "0" / "c" / "extra").write_text("x")

    with pytest.raises(RuntimeError, match="changed while it was read"):
        jd.volumes.deconvolve(mine, target, PSF, progress=change, **OPTIONS)
    assert not target.exists()
    (mine / "0" / "c" / "extra").unlink()
    with pytest.raises(jd.volumes.RunRefused, match="is a mixture"):
        jd.volumes.deconvolve(mine, target, PSF, **OPTIONS)
    jd.volumes.deconvolve(mine, target, PSF, resume=False, **OPTIONS)
    assert digest(target) == undisturbed


def test_a_source_that_vanishes_stops_the_run(tmp_path, source, undisturbed):
    mine, target = copy(source, tmp_path), tmp_path / "x.ome.zarr"
    away = tmp_path / "away.ome.zarr"

    def remove(progress):
        if progress.blocks == 1:
            mine.rename(away)

    with pytest.raises(FileNotFoundError, match="not there any more"):
        jd.volumes.deconvolve(mine, target, PSF, progress=remove, **OPTIONS)
    assert 0 < len(markers(target)) < 9
    away.rename(mine)
    jd.volumes.deconvolve(mine, target, PSF, **OPTIONS)
    assert digest(target) == undisturbed


def test_a_block_that_does_not_fit_is_done_in_parts(tmp_path, source):
    """A function that needs more memory than there is, for more than 20,000 voxels."""

    def greedy(volume):
        if volume.size > 20_000:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")
        return volume

    target = tmp_path / "parts.ome.zarr"
    run = jd.volumes.map_blocks(greedy, source, target, halo=(0, 3, 3), block=BLOCK)
    np.testing.assert_array_equal(jd.io.read(target), jd.io.read(source))
    assert len(run.split) == 9
    with pytest.raises(jd.volumes.BlocksFailed, match="does not fit into memory"):
        jd.volumes.map_blocks(
            lambda volume: (_ for _ in ()).throw(MemoryError),
            source,
            tmp_path / "never.ome.zarr",
            halo=0,
            block=BLOCK,
        )


def die_once(volume, folder):
    """Kills its process, the first time that it is called at all."""
    from pathlib import Path

    try:
        (Path(bytes(folder).decode()) / "died").mkdir()
    except FileExistsError:
        return volume
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_the_corner(volume):
    """Kills its process with the brightest block, whoever does it."""
    if np.asarray(volume).max() > 900:
        os.kill(os.getpid(), signal.SIGKILL)
    return volume


class Stubborn(Exception):
    """An error that cannot be sent to another process."""

    def __init__(self, lock):
        super().__init__("stubborn")
        self.lock = lock


def fail_stubbornly(volume):
    raise Stubborn(threading.Lock())


@pytest.mark.slow
def test_worker_processes_do_the_same_and_outlive_one_another(
    tmp_path, source, undisturbed
):
    target = tmp_path / "workers.ome.zarr"
    engine = jd.volumes.Workers(2)
    jd.volumes.deconvolve(source, target, PSF, engine=engine, **OPTIONS)
    assert digest(target) == undisturbed
    folder = np.frombuffer(str(tmp_path).encode(), np.uint8)
    target = tmp_path / "died.ome.zarr"
    run = jd.volumes.map_blocks(
        die_once,
        source,
        target,
        halo=0,
        block=BLOCK,
        engine=engine,
        arguments=(folder,),
    )
    assert run.blocks == 9
    np.testing.assert_array_equal(jd.io.read(target), jd.io.read(source))


@pytest.mark.slow
def test_a_block_that_kills_its_workers_fails_alone(tmp_path):
    image = np.zeros((2, 64, 64), np.uint16)
    image[0, 40, 40] = 1000
    with pytest.raises(
        jd.volumes.BlocksFailed, match="two worker processes died"
    ) as caught:
        jd.volumes.map_blocks(
            die_in_the_corner,
            image,
            tmp_path / "x.ome.zarr",
            halo=0,
            block=(2, 32, 32),
            engine=jd.volumes.Workers(2),
        )
    assert set(caught.value.failed) == {"0.32.32"}
    with pytest.raises(jd.volumes.BlocksFailed, match="Stubborn: stubborn"):
        jd.volumes.map_blocks(
            fail_stubbornly,
            image,
            tmp_path / "y.ome.zarr",
            halo=0,
            block=(2, 64, 64),
            engine=jd.volumes.Workers(1),
        )


@pytest.mark.slow
def test_a_dask_cluster_does_the_same_and_survives_the_loss_of_a_worker(
    tmp_path, source, undisturbed
):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        target = tmp_path / "dask.ome.zarr"
        killed = []

        def kill(progress):
            if progress.blocks == 2:
                worker = next(iter(client.run(os.getpid).values()))
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

        run = jd.volumes.deconvolve(
            source, target, PSF, engine=client, progress=kill, **OPTIONS
        )
        assert killed
        assert run.blocks == 9
        assert digest(target) == undisturbed
        address = tmp_path / "address.ome.zarr"
        jd.volumes.deconvolve(
            source, address, PSF, engine=cluster.scheduler_address, **OPTIONS
        )
        assert digest(address) == undisturbed


@pytest.mark.slow
def test_the_loss_of_the_scheduler_is_told_and_the_rest_done_later(
    tmp_path, source, undisturbed
):
    distributed = pytest.importorskip("distributed")
    target = tmp_path / "lost.ome.zarr"
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0"
    )
    client = distributed.Client(cluster)

    def close(progress):
        if progress.blocks == 2:
            cluster.close()

    with pytest.raises((ConnectionError, OSError)):
        jd.volumes.deconvolve(
            source, target, PSF, engine=client, progress=close, **OPTIONS
        )
    client.close()
    time.sleep(0.1)
    assert 0 < len(markers(target)) < 9
    jd.volumes.deconvolve(source, target, PSF, **OPTIONS)
    assert digest(target) == undisturbed
