"""The commands of the shell, one file each. A new one is a file with a `Command` and a word in `COMMANDS`."""

from homeostat.commands.answer import Answer, Command
from homeostat.commands.certify import CERTIFY
from homeostat.commands.check import CHECK
from homeostat.commands.demo import DEMO
from homeostat.commands.export import EXPORT
from homeostat.commands.fit import FIT
from homeostat.commands.follow import FOLLOW
from homeostat.commands.grammar import GRAMMAR
from homeostat.commands.identify import IDENTIFY
from homeostat.commands.import_ import IMPORT
from homeostat.commands.inspect import INSPECT
from homeostat.commands.report import REPORT
from homeostat.commands.sign import SIGN
from homeostat.commands.simulate import SIMULATE

# as the help lists them
COMMANDS: tuple[Command, ...] = (
    *(DEMO, IDENTIFY, FIT, CERTIFY, CHECK, REPORT, SIMULATE, FOLLOW, INSPECT, SIGN, EXPORT, IMPORT, GRAMMAR),
)

__all__ = ["COMMANDS", "Answer", "Command"]
