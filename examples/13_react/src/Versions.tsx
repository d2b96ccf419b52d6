// Which of the versions at a place is shown, and the way to the ones before and after it.

interface Props {
  messageId: string;
  versions: readonly string[];
  disabled: boolean;
  onSwitch: (name: string) => void;
}

export function Versions({ messageId, versions, disabled, onSwitch }: Props) {
  const at = versions.indexOf(messageId);
  if (versions.length < 2 || at < 0) return null;
  const step = (label: string, sign: string, to: string | undefined) => (
    <button
      type="button"
      className="ghost"
      aria-label={label}
      title={label}
      disabled={disabled || to === undefined}
      onClick={() => to !== undefined && onSwitch(to)}
    >
      {sign}
    </button>
  );
  return (
    <span className="versions" role="group" aria-label="Versions">
      {step("Earlier version", "‹", versions[at - 1])}
      <span className="note" aria-label={`Version ${at + 1} of ${versions.length}`} role="img">
        {at + 1}/{versions.length}
      </span>
      {step("Later version", "›", versions[at + 1])}
    </span>
  );
}
