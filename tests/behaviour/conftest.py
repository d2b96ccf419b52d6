"""The fixtures of the runtime's and the server's tests, for tests of what an application sees of both."""

from tests.runtime.conftest import gate, house
from tests.server.conftest import gates, kit, make_kit

__all__ = ["gate", "gates", "house", "kit", "make_kit"]
