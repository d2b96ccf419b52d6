import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Where `chatrt serve server.py` listens; in development the page is served by Vite and everything else by chatrt.
const SERVER = "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react()],
  // The client is a link to a folder with modules of its own: without this React and ai would be there twice.
  resolve: { dedupe: ["react", "react-dom", "ai", "@ai-sdk/react"] },
  server: { proxy: { "/v1": SERVER, "/token": SERVER } },
  build: { target: "es2022", chunkSizeWarningLimit: 800 },
});
