"""The tools by which a model uses skills: `load_skill`, `read_file` and, if the application allows it, `bash`.

Whatever goes wrong is an output with an `error`, not a failed call: a wrong name or path is a thing the model mends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chatrt.errors import UsageError
from chatrt.skills.files import OutsideError, decode_head, read_file
from chatrt.skills.shell import run_command
from chatrt.skills.skill import Skill
from chatrt.tools import NeedsApproval, Tool, tool

FILE_LIMIT = 1024 * 1024
OUTPUT_LIMIT = 64 * 1024


def skill_tools(
    skills: Iterable[Skill],
    *,
    allow_bash: bool = False,
    bash_timeout: float = 60.0,
    bash_environment: Mapping[str, str] | None = None,
    bash_needs_approval: NeedsApproval = False,
) -> list[Tool]:
    """Return the tools by which a model uses these skills; see `overlay_tools` for putting own ones in their place.

    `load_skill` gives a skill's instructions, `read_file` a file of its folder (text, at most 1 MiB of it). Neither
    reaches anything else. `bash` runs any command with the rights of this process, in the skill's folder; it sees
    of the environment only what `bash_environment` adds to a few harmless variables, and 64 KiB of each of its outputs
    are kept. It is no sandbox. What a model may run is the developer's to say, so it is only there with `allow_bash`.

    Args:
        skills: The skills.
        allow_bash: Whether `bash` is one of the tools.
        bash_timeout: Seconds after which a command is killed.
        bash_environment: Variables for commands.
        bash_needs_approval: See `Tool.needs_approval`.

    Raises:
        UsageError: If two skills have one name.
    """
    by_name: dict[str, Skill] = {}
    for skill in skills:
        if skill.name in by_name:
            raise UsageError(f"two skills are called {skill.name!r}: {by_name[skill.name].path} and {skill.path}")
        by_name[skill.name] = skill
    tools = [_load_skill(by_name), _read_file(by_name)]
    if allow_bash:
        tools.append(_bash(by_name, bash_timeout, bash_environment or {}, bash_needs_approval))
    return tools


def _load_skill(skills: Mapping[str, Skill]) -> Tool:
    @tool
    async def load_skill(name: str) -> dict[str, Any]:
        """Read the instructions of a skill.

        Args:
            name: The name of the skill.
        """
        skill = skills.get(name)
        if skill is None:
            return _unknown(skills, name)
        return {"name": skill.name, "description": skill.description, "body": skill.body, "path": str(skill.path)}

    return load_skill


def _read_file(skills: Mapping[str, Skill]) -> Tool:
    @tool(name="read_file")
    def read(skill: str, path: str) -> dict[str, Any]:
        """Read a text file that belongs to a skill.

        Args:
            skill: The name of the skill.
            path: The path of the file, relative to the skill's folder.
        """
        found = skills.get(skill)
        if found is None:
            return _unknown(skills, skill)
        try:
            data, size = read_file(found.path, path, limit=FILE_LIMIT)
        except OutsideError:
            return {"error": f"{path!r} is outside of the skill: use a path relative to its folder"}
        except OSError as error:
            return {"error": f"{path!r} cannot be read: {error.strerror}"}
        except ValueError:
            return {"error": f"{path!r} is no path"}
        if b"\0" in data:
            return {"error": f"{path!r} is not a text file ({size} bytes)"}
        return {"content": decode_head(data, size)}

    return read


def _bash(
    skills: Mapping[str, Skill], timeout: float, environment: Mapping[str, str], needs_approval: NeedsApproval
) -> Tool:
    @tool(needs_approval=needs_approval)
    async def bash(skill: str, command: str) -> dict[str, Any]:
        """Run a shell command in the folder of a skill.

        Args:
            skill: The name of the skill.
            command: What to run.
        """
        found = skills.get(skill)
        if found is None:
            return _unknown(skills, skill)
        try:
            done = await run_command(
                command, folder=found.path, environment=environment, timeout=timeout, limit=OUTPUT_LIMIT
            )
        except (OSError, ValueError) as error:
            return {"error": f"the command cannot be run: {error}"}
        output = {"stdout": done.stdout, "stderr": done.stderr}
        if done.exit_code is None:
            return {"error": f"the command was killed after {timeout:g} seconds", **output}
        return {"exitCode": done.exit_code, **output}

    return bash


def _unknown(skills: Mapping[str, Skill], name: str) -> dict[str, Any]:
    available = ", ".join(skills) or "none"
    return {"error": f"there is no skill {name!r}; available: {available}"}
