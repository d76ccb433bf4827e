/** The script for zsh: a file `_skep` in a directory of $fpath, or sourced after compinit. One function for each command, by `_arguments`. */
import type { CommandAt } from '../command-spec.js';
import { completedCommands, shellQuoted } from './words.js';
import type { CompletedCommand, CompletedOption, Source } from './words.js';

const asking = `
_skep_ask() {
  local -a found
  found=("\${(@f)$("\${_skep_command:-skep}" __complete "$@" 2>/dev/null)}")
  found=(\${found:#})
  (( $#found )) && compadd -a found
}

_skep_labs() { _skep_ask labs }
_skep_services() { _skep_ask services }
_skep_nodes() { _skep_ask nodes "\${opt_args[--name]:-lab}" }
`;

export function zshScript(root: CommandAt): string {
  return `#compdef skep
# Completion of skep for zsh, made by "skep completion zsh".
${asking}
${completedCommands(root).map(functionOf).join('\n')}
# Called as the completion, or sourced.
if [[ $funcstack[1] == _skep ]]; then
  _skep "$@"
else
  compdef _skep skep
fi
`;
}

const functionName = (path: string): string => `_${path.replaceAll(/[ -]/g, '_')}`;

function functionOf({ path, commands, options, arguments: places, takesCommand }: CompletedCommand): string {
  const name = functionName(path);
  const specs = options.map(optionSpec);
  const remember = path.includes(' ') ? '' : '  local _skep_command=$words[1]\n';
  const head = `${name}() {\n${remember}  local curcontext="$curcontext" state line\n  typeset -A opt_args\n`;
  if (commands.length > 0) {
    const list = commands.map(({ name: word, summary }) => shellQuoted(`${word}:${summary}`));
    return `${head}  _arguments -C ${continued([...specs, "'1: :->command'", "'*:: :->below'"])}
  case $state in
    command)
      local -a commands=(
        ${list.join('\n        ')}
      )
      _describe command commands
      ;;
    below)
      case $line[1] in
        ${commands.map(({ name: word }) => `${word}) ${functionName(`${path} ${word}`)} ;;`).join('\n        ')}
      esac
      ;;
  esac
}
`;
  }
  const places_ = places.map(({ name: what, source }, at) =>
    shellQuoted(`${at + 1}:${what}:${action(source)}`),
  );
  const rest = takesCommand ? ["'*:::CMD:_normal'"] : [];
  return `${head}  _arguments -S ${continued([...specs, ...places_, ...rest])}\n}\n`;
}

const continued = (specs: readonly string[]): string => `\\\n    ${specs.join(' \\\n    ')}`;

/** As `_arguments` reads it; in the explanation, brackets would end it. */
function optionSpec({ flags, meaning, value, source }: CompletedOption): string {
  const explained = `[${meaning.replaceAll(/[[\]\\]/g, '\\$&')}]`;
  const [long = '', short] = flags;
  const given = source && value !== undefined ? `:${value}:${action(source)}` : '';
  if (short !== undefined)
    return `'(${long} ${short})'{${long},${short}}${shellQuoted(`${explained}${given}`)}`;
  return shellQuoted(`${long}${source ? '=' : ''}${explained}${given}`);
}

function action(source: Source): string {
  switch (source.kind) {
    case 'words':
      return `(${source.words.join(' ')})`;
    case 'file':
      return '_files';
    case 'labs':
    case 'nodes':
    case 'services':
      return `_skep_${source.kind}`;
    case 'anything':
      return ' ';
  }
}
