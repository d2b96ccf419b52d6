// The frame: the chats at the side, the current one in the middle.

import { useEffect, useState } from "react";
import { ChatView } from "./ChatView";
import { Sidebar } from "./Sidebar";
import { useCurrentChat } from "./chats";

export function App() {
  const chatId = useCurrentChat();
  const [menu, setMenu] = useState(false);
  useEffect(() => {
    if (!menu) return undefined;
    const press = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setMenu(false);
      document.getElementById("menu")?.focus();
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, [menu]);
  return (
    <>
      <a className="skip" href="#composer-input">
        Skip to the message field
      </a>
      <Sidebar current={chatId} open={menu} onClose={() => setMenu(false)} />
      <ChatView key={chatId} chatId={chatId} menuOpen={menu} onMenu={() => setMenu(!menu)} />
    </>
  );
}
