// The scrolling middle: follows a growing answer until the reader scrolls up, and again once they come back.

import { type ReactNode, useEffect, useRef, useState } from "react";

const NEAR = 48; // px from the end that still count as there

interface Props {
  children: ReactNode;
  /** Changes when the person said something: then the end is where they want to be. */
  jump: number;
}

export function Transcript({ children, jump }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const [away, setAway] = useState(false);

  useEffect(() => {
    const area = scroller.current;
    const inner = content.current;
    if (!area || !inner) return undefined;
    let before = area.scrollTop;
    const scrolled = () => {
      const rest = area.scrollHeight - area.scrollTop - area.clientHeight;
      // Only going up lets go: growth alone moves the end away from where the reader is, too.
      if (area.scrollTop < before - 1 && rest > NEAR) follows.current = false;
      if (rest <= NEAR) follows.current = true;
      before = area.scrollTop;
      setAway(!follows.current);
    };
    const grown = new ResizeObserver(() => {
      if (follows.current) area.scrollTop = area.scrollHeight;
      before = area.scrollTop;
    });
    area.addEventListener("scroll", scrolled, { passive: true });
    grown.observe(inner);
    grown.observe(area);
    return () => {
      area.removeEventListener("scroll", scrolled);
      grown.disconnect();
    };
  }, []);

  const toEnd = (behavior: ScrollBehavior) => {
    follows.current = true;
    setAway(false);
    scroller.current?.scrollTo({ top: scroller.current.scrollHeight, behavior });
  };
  useEffect(() => toEnd("instant"), [jump]);

  return (
    <div className="middle">
      <div className="scroller" ref={scroller} tabIndex={0} role="region" aria-label="Conversation">
        <div className="column" ref={content}>
          {children}
        </div>
      </div>
      {away && (
        <button type="button" className="to-end" onClick={() => toEnd("smooth")}>
          <span aria-hidden="true">↓</span> Newest
        </button>
      )}
    </div>
  );
}
