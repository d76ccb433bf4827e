/**
 * The script for bash. It needs nothing but bash itself: words of the table are in it, all others are asked of `skep __complete`. What
 * is offered is compared and never evaluated, so that no name of a service or lab runs as code.
 */
import type { CommandAt } from '../command-spec.js';
import { completedCommands, shellQuoted } from './words.js';
import type { Source } from './words.js';

const engine = `
# Prints the words on its input that begin as what is typed.
_skep_offer() {
  local word
  while IFS= read -r word; do
    [[ $word == "$cur"* ]] && COMPREPLY+=("$word")
  done
}

_skep() {
  local cur=\${COMP_WORDS[COMP_CWORD]} path=skep option= place=1 dashes= lab=lab word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ -n $option ]]; then
      # bash takes --name=x for three words.
      [[ $word == = ]] && continue
      [[ $option == --name ]] && lab=$word
      option=
    elif [[ $word == -- ]]; then
      dashes=$i
      break
    elif [[ $word == -* ]]; then
      _skep_takes_value "$path $word" && option=$word
    elif _skep_is_command "$path $word"; then
      path="$path $word"
    else
      place=$((place + 1))
    fi
  done
  if [[ -n $dashes ]]; then
    _skep_takes_command "$path" || return 0
    compopt -o filenames 2>/dev/null
    if ((COMP_CWORD == dashes + 1)); then
      _skep_offer < <(compgen -c -- "$cur" | sort -u)
    else
      _skep_offer < <(compgen -f -- "$cur")
    fi
  elif [[ -n $option ]]; then
    [[ $cur == = ]] && cur=
    _skep_words "$path $option"
  elif [[ $cur == -* ]]; then
    _skep_offer < <(_skep_options "$path")
  else
    _skep_words "$path $place"
  fi
  return 0
}

complete -F _skep skep
`;

export function bashScript(root: CommandAt): string {
  const commands = completedCommands(root);
  const takingValues = commands.flatMap(({ path, options }) =>
    options.flatMap(({ flags, source }) => (source ? flags.map((flag) => `${path} ${flag}`) : [])),
  );
  const places = commands.flatMap((command) => {
    const { path, options, arguments: all } = command;
    const below: [string, Source][] =
      command.commands.length === 0
        ? []
        : [[`${path} 1`, { kind: 'words', words: command.commands.map(({ name }) => name) }]];
    const byPlace = all.map(({ source }, at): [string, Source] => [`${path} ${at + 1}`, source]);
    const ofOptions = options.flatMap(({ flags, source }) =>
      source ? flags.map((flag): [string, Source] => [`${path} ${flag}`, source]) : [],
    );
    return [...below, ...byPlace, ...ofOptions];
  });
  return `# Completion of skep for bash, made by "skep completion bash".

_skep_is_command() {
${isOneOf(commands.slice(1).map(({ path }) => path))}
}

_skep_takes_command() {
${isOneOf(commands.filter(({ takesCommand }) => takesCommand).map(({ path }) => path))}
}

_skep_takes_value() {
${isOneOf(takingValues)}
}

_skep_options() {
  case $1 in
${commands.map(({ path, options }) => `    ${shellQuoted(path)}) ${print(options.flatMap(({ flags }) => flags))} ;;`).join('\n')}
  esac
}

# What can be at a place of a command, or be the value of an option.
_skep_words() {
  case $1 in
${places.flatMap(([place, source]) => offer(place, source)).join('\n')}
  esac
}
${engine}`;
}

const isOneOf = (names: readonly string[]): string =>
  `  case $1 in\n    ${names.map(shellQuoted).join(' | ')}) return 0 ;;\n  esac\n  return 1`;

const print = (words: readonly string[]): string => `printf '%s\\n' ${words.join(' ')}`;

/** What the user typed as the command is asked, so that a checkout's own skep answers for itself. */
const ask = (kind: string): string => `"\${COMP_WORDS[0]}" __complete ${kind} 2>/dev/null`;

function offer(place: string, source: Source): string[] {
  const from = (command: string): string[] => [`    ${shellQuoted(place)}) _skep_offer < <(${command}) ;;`];
  switch (source.kind) {
    case 'words':
      return from(print(source.words));
    case 'file':
      return [
        `    ${shellQuoted(place)})`,
        '      compopt -o filenames 2>/dev/null',
        '      _skep_offer < <(compgen -f -- "$cur")',
        '      ;;',
      ];
    case 'labs':
    case 'services':
      return from(ask(source.kind));
    case 'nodes':
      return from(ask('nodes "$lab"'));
    case 'anything':
      return [];
  }
}
