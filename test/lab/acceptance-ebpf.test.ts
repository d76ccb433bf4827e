/** The acceptance list with the ebpf engine, on this machine's own kernel. */
import { acceptance } from './acceptance.js';

acceptance({ kernel: 'host', engine: 'ebpf' });
