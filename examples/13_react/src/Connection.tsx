// How the connection to the server stands; quiet while everything is well.

import type { Link } from "./transport";

const TEXTS: Record<Link, string> = {
  idle: "",
  connecting: "Connecting…",
  live: "Connected",
  reconnecting: "Reconnecting…",
  offline: "Offline",
  closed: "Closed",
};

export function Connection({ link }: { link: Link }) {
  return (
    <p className="link" role="status" data-state={link}>
      {TEXTS[link]}
    </p>
  );
}
