"""Skills: folders with instructions and files that a model reads when it needs them.

    skills = load_skills("skills")

    @agent.run
    async def respond(turn):
        tools = [*turn.tools, *skill_tools(skills)]
        return stream_text(MODEL, turn.messages, system=skills_preamble(skills), tools=tools)

The prompt names each skill and says in a sentence what it is for; the instructions are read by `load_skill`, the files
by `read_file`. A skill is code of the application: whoever writes its files decides what the model is told.
"""

from __future__ import annotations

from chatrt.skills.skill import Skill, load_skills, skills_preamble
from chatrt.skills.tools import skill_tools

__all__ = ["Skill", "load_skills", "skill_tools", "skills_preamble"]
