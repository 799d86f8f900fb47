import { Code, Text } from '@mantine/core';
import { t } from '../../messages/t';
import { limits, resolve, typeText, type Contract, type SchemaNode } from './contract';
import classes from './Api.module.css';

type Props = { contract: Contract; node: SchemaNode; /** Names already open above this one: a schema that holds itself ends there. */ above?: string[] };

/** A schema property by property; what has properties of its own opens. */
export function SchemaView({ contract, node, above = [] }: Props) {
  const { name, schema } = resolve(contract, node);
  if (schema.type === 'array' && schema.items) return <SchemaView contract={contract} node={schema.items} above={above} />;
  if (!schema.properties) {
    return (
      <Text size="sm">
        <Code>{typeText(contract, node)}</Code> {schema.enum?.join(' · ')}
      </Text>
    );
  }
  const inside = name ? [...above, name] : above;
  return (
    <ul className={classes.schema}>
      {[true, false].flatMap((required) =>
        Object.entries(schema.properties ?? {})
          .filter(([key]) => (schema.required?.includes(key) ?? false) === required)
          .map(([key, property]) => <Property key={key} contract={contract} name={key} node={property} required={required} above={inside} />),
      )}
    </ul>
  );
}

function Property({ contract, name, node, required, above }: { contract: Contract; name: string; node: SchemaNode; required: boolean; above: string[] }) {
  const { schema } = resolve(contract, node);
  const inner = resolve(contract, schema.type === 'array' && schema.items ? schema.items : node);
  const nested = inner.schema.properties !== undefined && !(inner.name && above.includes(inner.name));
  const choices = inner.schema.enum;
  const notes = [node.description ?? (schema.properties ? '' : schema.description), limits(schema), choices && choices.map((each) => `"${each}"`).join(' · '), schema.readOnly && t('apiDocs.readOnly')].filter(Boolean);
  const head = (
    <>
      <span className={classes.property}>{name}</span>
      {required && (
        <abbr className={classes.required} title={t('apiDocs.required')}>
          *
        </abbr>
      )}{' '}
      <span className={classes.type}>{typeText(contract, node)}</span>
      {notes.length > 0 && <span className={classes.note}>{notes.join(' — ')}</span>}
    </>
  );
  return (
    <li>
      {nested ? (
        <details>
          <summary>{head}</summary>
          <SchemaView contract={contract} node={inner.name ? { $ref: `#/components/schemas/${inner.name}` } : inner.schema} above={above} />
        </details>
      ) : (
        <div className={classes.leaf}>{head}</div>
      )}
    </li>
  );
}
