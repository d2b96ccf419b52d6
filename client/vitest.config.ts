// How the tests of this package run: in Node.js, each file on its own.

import { defineConfig } from "vitest/config";

export default defineConfig({ test: { include: ["test/**/*.test.ts"], testTimeout: 20_000 } });
