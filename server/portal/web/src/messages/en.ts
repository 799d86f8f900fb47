// The catalogue of messages. One file per area keeps each short; a key is "area.name".
import { admin } from './en/admin';
import { devices } from './en/devices';
import { kit } from './en/kit';
import { names } from './en/names';
import { shell } from './en/shell';
import { work } from './en/work';

export const en = {
  ...kit,
  ...names,
  ...shell,
  ...devices,
  ...work,
  ...admin,
};
