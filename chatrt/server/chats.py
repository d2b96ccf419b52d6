"""The chat that a request names, on the wires whose paths have an agent and a chat."""

from __future__ import annotations

from starlette.requests import Request

from chatrt.errors import AgentMismatchError
from chatrt.runtime import Session
from chatrt.server.auth import Principal, Scope
from chatrt.server.limits import check_chat_id
from chatrt.server.service import Service


def identify_chat(service: Service, request: Request, scope: Scope) -> tuple[Principal, str, str]:
    """Return who asks, the agent and the chat id of the path.

    Raises:
        UnauthorizedError: If there are no credentials.
        ForbiddenError: If they are for something else.
        AgentNotFoundError: If there is no such agent.
        InvalidInputError: If the chat id is none.
    """
    principal = service.authority.identify(request)
    agent: str = request.path_params["agent"]
    chat_id = check_chat_id(request.path_params["chat_id"], path="chat id")
    principal.require(chat_id, scope, agent=agent)
    service.check_agent(agent)
    return principal, agent, chat_id


async def open_chat(service: Service, principal: Principal, agent: str, chat_id: str) -> Session:
    """Return the session of a chat; it is created if it is not there and the principal may do that.

    Raises:
        SessionNotFoundError: If it is not there and may not be created.
        AgentMismatchError: If it is another agent's.
    """
    if principal.may_create(agent):
        return await service.sessions.start_session(agent, chat_id, tenant=principal.tenant)
    session = await service.sessions.get_session(chat_id, tenant=principal.tenant)
    check_agent_of(session, agent)
    return session


def check_agent_of(session: Session, agent: str) -> None:
    """Make sure that the session is this agent's.

    Raises:
        AgentMismatchError: If it is not.
    """
    if session.agent.id != agent:
        raise AgentMismatchError(session.chat_id, agent)
