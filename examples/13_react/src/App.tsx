// The frame: the chats at the side, the current one in the middle.

import { useEffect, useState } from "react";
import { ChatView } from "./ChatView";
import { Sidebar } from "./Sidebar";
import { useCurrentChat } from "./chats";

export function App() {
  const chatId = useCurrentChat();
  const [menu, setMenu] = useState(false);
  useEffect(() => {
    const wide = matchMedia("(min-width: 761px)"); // where the chats stand beside: see frame.css
    const close = () => setMenu(false);
    wide.addEventListener("change", close);
    return () => wide.removeEventListener("change", close);
  }, []);
  useEffect(() => {
    if (!menu) return undefined;
    document.querySelector<HTMLElement>("#sidebar a")?.focus();
    const press = (event: KeyboardEvent) => {
      if (event.key === "Escape") setMenu(false);
    };
    window.addEventListener("keydown", press);
    return () => {
      window.removeEventListener("keydown", press);
      document.getElementById("menu")?.focus();
    };
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
