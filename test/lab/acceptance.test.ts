/** The acceptance list with the ebpf engine, on this machine's own kernel. */
import { acceptance } from '../support/acceptance.js';

acceptance({ kernel: 'host', engine: 'ebpf' });
