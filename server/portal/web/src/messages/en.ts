// The catalogue of messages. One file per area keeps each short; a key is "area.name".
import { kit } from './en/kit';
import { names } from './en/names';
import { shell } from './en/shell';

export const en = {
  ...kit,
  ...names,
  ...shell,
};
