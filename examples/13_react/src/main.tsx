import "./styles/tokens.css";
import "./styles/controls.css";
import "./styles/frame.css";
import "./styles/transcript.css";
import "./styles/cards.css";

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App";

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
