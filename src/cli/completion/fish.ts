/** The script for fish: a line for each command and option, that holds where the words before the cursor name that command. */
import type { CommandAt } from '../command-spec.js';
import { completedCommands } from './words.js';
import type { CompletedCommand, CompletedOption, Source } from './words.js';

const functions = `
# The command that the words before the cursor name; with -- at its end after that word.
function __skep_path
    set -l path skep
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test "$word" = --
            echo "$path --"
            return
        end
        if contains -- "$path $word" $__skep_commands
            set path "$path $word"
        end
    end
    echo $path
end

function __skep_at
    test (__skep_path) = "$argv"
end

function __skep_ask
    set -l words (commandline -opc)
    $words[1] __complete $argv 2>/dev/null
end

function __skep_nodes
    set -l words (commandline -opc)
    set -l lab lab
    for i in (seq (count $words))
        if test "$words[$i]" = --name; and test $i -lt (count $words)
            set lab $words[(math $i + 1)]
        else if string match -q -- '--name=*' $words[$i]
            set lab (string replace -- '--name=' '' $words[$i])
        end
    end
    __skep_ask nodes $lab
end
`;

export function fishScript(root: CommandAt): string {
  const commands = completedCommands(root);
  return `# Completion of skep for fish, made by "skep completion fish".

set -g __skep_commands ${commands
    .slice(1)
    .map(({ path }) => quoted(path))
    .join(' ')}
${functions}
complete -c skep -f
${commands.flatMap(linesOf).join('\n')}
`;
}

function linesOf({ path, commands, options, arguments: places, takesCommand }: CompletedCommand): string[] {
  const at = (condition: string): string => `complete -c skep -n ${quoted(`__skep_at ${condition}`)}`;
  const here = at(path);
  return [
    ...commands.map(({ name, summary }) => `${here} -a ${name} -d ${quoted(summary)}`),
    ...options.map((option) => `${here} ${optionWords(option)}`),
    ...new Set(places.flatMap(({ source }) => offer(source).map((words) => `${here} ${words}`))),
    ...(takesCommand ? [`${at(`${path} --`)} -F -a '(__fish_complete_command)'`] : []),
  ];
}

function optionWords({ flags, meaning, source }: CompletedOption): string {
  const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const value = source === undefined ? [] : source.kind === 'file' ? ['-r -F'] : ['-x', ...offer(source)];
  return [...names, ...value, `-d ${quoted(meaning)}`].join(' ');
}

function offer(source: Source): string[] {
  switch (source.kind) {
    case 'words':
      return [`-a ${quoted(source.words.join(' '))}`];
    case 'file':
      return ['-F'];
    case 'nodes':
      return [`-a '(__skep_nodes)'`];
    case 'labs':
    case 'services':
      return [`-a '(__skep_ask ${source.kind})'`];
    case 'anything':
      return [];
  }
}

/** In single quotes fish knows two escapes. */
const quoted = (text: string): string => `'${text.replaceAll(/[\\']/g, '\\$&')}'`;
