"""`trimwave keys`: one command for the server, one for the clients."""

import pytest

pytest.importorskip("cryptography", reason="needs the extra flower")


def test_a_servers_and_clients_keys(trimwave, tmp_path):
    from trimwave.net.credentials import Credentials

    code, out, err = trimwave("keys", "server", "fl.example.org", "10.0.0.7")
    assert (code, err) == (0, "")
    assert "keys/server.pem covers fl.example.org, 10.0.0.7 and this machine" in out
    assert "Copy keys/ca.pem to every client, and nothing else of keys." in out
    code, out, err = trimwave("keys", "client", "ward-1", "ward-2", "ward-1")
    assert (code, err) == (0, "")
    assert out.count("keys/clients/ward-1 is for the device ward-1 only") == 1
    assert "`trimwave serve --keys keys` takes every one in keys/clients" in out
    found = Credentials.read(tmp_path / "keys", "10.0.0.7")
    assert list(found.clients) == ["ward-1", "ward-2"]


def test_another_folder_and_another_end(trimwave, tmp_path):
    code, out, _ = trimwave("keys", "server", "a", "--to", "of/ours", "--days", "30")
    assert code == 0 and "of/ours/server.pem" in out
    assert (tmp_path / "of/ours/server.key").exists()
    assert not (tmp_path / "keys").exists()


def test_nothing_is_overwritten_and_none_is_made_by_halves(trimwave, refused, tmp_path):
    trimwave("keys", "client", "a")
    before = (tmp_path / "keys/clients/a").read_bytes()
    said = refused("keys", "client", "b", "a")
    assert "keys/clients/a exists, and no key is ever overwritten" in said
    assert (tmp_path / "keys/clients/a").read_bytes() == before
    assert not (tmp_path / "keys/clients/b").exists()
    assert "a client's name is" in refused("keys", "client", "c", "../d")
    assert not (tmp_path / "keys/clients/c").exists()


def test_a_host_is_looked_at_before_anything_is_written(refused, tmp_path):
    assert "without a port" in refused("keys", "server", "fl.example.org:8080")
    assert "stands for every address" in refused("keys", "server", "0.0.0.0")
    assert not (tmp_path / "keys").exists()


def test_a_folder_that_cannot_be_made(refused, tmp_path):
    (tmp_path / "file").touch()
    said = refused("keys", "client", "a", "--to", "file")
    assert "cannot read or write file" in said and "no key was made" in said


def test_settings_were_listed_here(refused):
    for name in ("cell", "cell.num_clients", "rounds"):
        assert f"listed by `trimwave settings {name}`" in refused("keys", name)
    assert "did you mean `client`?" in refused("keys", "clients")


def test_without_a_command_it_helps(trimwave):
    _, out, err = trimwave("keys")
    assert "server" in out + err and "client" in out + err


@pytest.mark.parametrize("name", ["server", "client"])
def test_help_ends_with_an_example(name, trimwave, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = trimwave("keys", name, "--help")
    assert code == 0
    last = [line for line in out.splitlines() if line.strip()][-1]
    assert last.strip().startswith(f"Example: trimwave keys {name} ")
