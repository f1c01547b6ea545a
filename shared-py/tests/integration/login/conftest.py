"""A private authority that the tests of logins share, and one that nobody should trust."""

from __future__ import annotations

import pytest

from stack import Authority, Certificate


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make the authority of the servers."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make another authority."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Certificate:
    """Issue the certificate of a server at 127.0.0.1."""
    return authority.issue("server")
