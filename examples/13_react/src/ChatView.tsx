// One chat on screen: the conversation, what waits, and where the person writes.

import type { ChatState } from "@chatrt/client";
import { type ReactNode, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Announcer } from "./Announcer";
import { Composer } from "./Composer";
import { Connection } from "./Connection";
import { Empty } from "./Empty";
import { Messages } from "./Messages";
import { Notice } from "./Notice";
import { PendingList } from "./PendingList";
import { Problem } from "./Problem";
import { Transcript } from "./Transcript";
import { remember } from "./chats";
import { type Act, useConversation, useInitial } from "./conversation";
import { type Message, textOf } from "./messages";
import type { Link } from "./transport";
import { unsentTexts } from "./unsent";

interface Props {
  chatId: string;
  menuOpen: boolean;
  onMenu: () => void;
}

export function ChatView(props: Props) {
  const { loaded, refused } = useInitial(props.chatId);
  if (loaded) return <OpenChat {...props} initial={loaded} />;
  return (
    <main aria-busy={refused === null}>
      <Header title="" link={refused === null ? "connecting" : "idle"} {...props} />
      <Transcript jump={0}>{refused !== null && <Problem problem={{ text: refused, retry: false }} />}</Transcript>
    </main>
  );
}

function OpenChat({ chatId, menuOpen, onMenu, initial }: Props & { initial: ChatState<Message> }) {
  const conversation = useConversation(chatId, initial);
  const { messages, busy, free, waiting, elsewhere, link } = conversation;
  const field = useRef<HTMLTextAreaElement>(null);
  const [unsent] = useState(() => unsentTexts(chatId, initial));
  const [editing, setEditing] = useState<string | null>(null);
  const [said, setSaid] = useState(0); // how often the person did something here
  const act = useMemo(() => {
    const after = () => {
      setSaid((count) => count + 1);
      field.current?.focus();
    };
    return andThen(conversation.act, after);
  }, [conversation.act]);

  const first = messages.find((message) => message.role === "user") ?? waiting[0]?.message;
  const title = first ? textOf(first).slice(0, 80) : "New chat";
  const begun = first !== undefined;
  useEffect(() => {
    document.title = begun ? `${title.slice(0, 40)} · Travel guide` : "Travel guide";
    if (begun) remember(chatId, title);
  }, [chatId, begun, title]);

  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !event.defaultPrevented && !menuOpen) conversation.act.stop();
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, [conversation.act, menuOpen]);

  const edit = useCallback((messageId: string | null) => {
    setEditing(messageId);
    if (messageId === null) field.current?.focus();
  }, []);
  const editLast = () => {
    const mine = messages.findLast((message) => message.role === "user");
    const last = waiting.at(-1)?.message.id ?? (free ? mine?.id : undefined);
    if (last !== undefined) setEditing(last);
    return last !== undefined;
  };

  return (
    <main inert={menuOpen}>
      <Header title={title} link={link} menuOpen={menuOpen} onMenu={onMenu}>
        <button
          type="button"
          className="ghost"
          title="Take back the last question and its answer"
          disabled={!free || !messages.length}
          onClick={act.undo}
        >
          Undo
        </button>
      </Header>
      <Transcript jump={said}>
        {!begun && <Empty onChoose={act.send} />}
        <Messages conversation={conversation} act={act} editing={editing} onEdit={edit} />
        <Problem problem={conversation.problem} free={free} onRetry={act.retry} />
      </Transcript>
      <div className="bottom">
        <PendingList waiting={waiting} act={act} editing={editing} onEdit={edit} />
        <Notice elsewhere={elsewhere} cut={busy && (link === "offline" || link === "reconnecting")} />
        <Composer
          chatId={chatId}
          unsent={unsent}
          busy={busy}
          waits={busy || elsewhere}
          steers={busy && waiting.every((entry) => entry.state === "steering")}
          closed={link === "closed"}
          act={act}
          field={field}
          onEditLast={editLast}
        />
        <p id="keys" className="keys">
          <kbd>Enter</kbd> sends, <kbd>Shift</kbd>+<kbd>Enter</kbd> begins a line, <kbd>Esc</kbd> stops, <kbd>↑</kbd>{" "}
          edits what you said last
        </p>
      </div>
      <Announcer busy={busy} last={messages.at(-1)} />
    </main>
  );
}

interface HeaderProps {
  title: string;
  link: Link;
  menuOpen: boolean;
  onMenu: () => void;
  children?: ReactNode;
}

function Header({ title, link, menuOpen, onMenu, children }: HeaderProps) {
  return (
    <header>
      <button
        id="menu"
        type="button"
        className="menu"
        aria-label="Chats"
        aria-expanded={menuOpen}
        aria-controls="sidebar"
        onClick={onMenu}
      >
        ☰
      </button>
      <h1>{title}</h1>
      <Connection link={link} />
      {children}
    </header>
  );
}

/** Whatever a person does in the transcript, they go on writing where they write. */
function andThen(act: Act, after: () => void): Act {
  const wrapped = Object.entries(act).map(([name, does]: [string, (...given: never[]) => void]) => [
    name,
    (...given: never[]) => {
      does(...given);
      after();
    },
  ]);
  return Object.fromEntries(wrapped) as Act;
}
