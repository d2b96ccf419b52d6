// Light, dark, or as the system has it.

import { useState } from "react";
import { inBrowser } from "./storage";

const KEY = "guide.theme";
const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];
const NAMES: Record<Theme, string> = { system: "System", light: "Light", dark: "Dark" };

function kept(): Theme {
  const theme = document.documentElement.dataset.theme;
  return theme === "light" || theme === "dark" ? theme : "system";
}

export function ThemeChoice() {
  const [theme, setTheme] = useState(kept);
  const choose = (next: Theme) => {
    setTheme(next);
    if (next === "system") {
      delete document.documentElement.dataset.theme;
      inBrowser.set(KEY, null);
    } else {
      document.documentElement.dataset.theme = next;
      inBrowser.set(KEY, next);
    }
  };
  return (
    <fieldset className="theme">
      <legend className="hidden">Theme</legend>
      {THEMES.map((one) => (
        <label key={one}>
          <input type="radio" name="theme" value={one} checked={theme === one} onChange={() => choose(one)} />
          <span>{NAMES[one]}</span>
        </label>
      ))}
    </fieldset>
  );
}
