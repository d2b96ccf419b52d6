// The one error of this package: what a server refused, or what could not be done, by a stable code.

/** Codes that this package makes itself; all others are the server's, see protocol.md §9. */
export type ClientErrorCode = "server-unavailable" | "remote-error" | "usage" | "tab-busy" | "client-closed";

/**
 * A refusal or a failure.
 *
 * code: stable and kebab-case. status: of the HTTP answer, 0 without one. retryable: whether the same call may succeed
 * later. id: finds the failure in the server's log.
 */
export class ChatrtError extends Error {
  override readonly name: string = "ChatrtError";
  readonly code: string;
  readonly status: number;
  readonly retryable: boolean;
  readonly id: string;

  constructor(
    code: string,
    message: string,
    facts: { status?: number; retryable?: boolean; id?: string; cause?: unknown } = {},
  ) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.status = facts.status ?? 0;
    this.retryable = facts.retryable ?? false;
    this.id = facts.id ?? "";
  }

  /** Whether something is an error of this package, also of another copy of it. */
  static isInstance(value: unknown): value is ChatrtError {
    return value instanceof Error && value.name === "ChatrtError" && "code" in value && "retryable" in value;
  }
}

/** A turn that failed or was interrupted, told by `text()` and `messages()`; `code` and `id` are the turn's. */
export class TurnFailedError extends ChatrtError {}
