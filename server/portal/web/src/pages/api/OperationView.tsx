import { Badge, Code, Stack, Table, Tabs, Text, Title } from '@mantine/core';
import { CodeBlock } from '../../kit/Copy';
import { t } from '../../messages/t';
import { curl, example, limits, typeText, type Contract, type Operation } from './contract';
import { SchemaView } from './SchemaView';
import classes from './Api.module.css';

/** Everything about one operation. */
export function OperationView({ contract, operation }: { contract: Contract; operation: Operation }) {
  return (
    <Stack gap="lg" className={classes.operation ?? ''}>
      {(operation.description || operation.open) && (
        <Text size="sm">
          {operation.description} {operation.open && <Badge color="gray">{t('apiDocs.noAuth')}</Badge>}
        </Text>
      )}
      {operation.parameters.length > 0 && <Parameters contract={contract} operation={operation} />}
      {operation.body && (
        <section>
          <Title order={4} mb="xs">
            {t('apiDocs.body')}
          </Title>
          <Body contract={contract} node={operation.body} request />
        </section>
      )}
      <section>
        <Title order={4} mb="xs">
          {t('apiDocs.curl')}
        </Title>
        <CodeBlock code={curl(contract, operation, location.origin)} label={t('apiDocs.curl')} />
      </section>
      <Answers contract={contract} operation={operation} />
    </Stack>
  );
}

function Parameters({ contract, operation }: { contract: Contract; operation: Operation }) {
  return (
    <section>
      <Title order={4} mb="xs">
        {t('apiDocs.parameters')}
      </Title>
      <Table.ScrollContainer minWidth={260} type="native">
        <Table fz="sm" verticalSpacing={5} layout="fixed">
          <Table.Tbody>
            {operation.parameters.map((each) => (
              <Table.Tr key={each.in + each.name}>
                <Table.Th scope="row" w="28%">
                  <span className={classes.property}>{each.name}</span>
                  {each.required && <span className={classes.required}> *</span>}
                  <Text size="xs" c="dimmed" fw={400}>
                    {t(`apiDocs.${each.in}`)}
                  </Text>
                </Table.Th>
                <Table.Td>
                  <span className={classes.type}>{typeText(contract, each.schema ?? {})}</span>
                  <Text size="xs" c="dimmed" className="foreign">
                    {[each.description, limits(each.schema ?? {}), each.schema?.enum?.join(' · ')].filter(Boolean).join(' — ')}
                  </Text>
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </section>
  );
}

function Body({ contract, node, request }: { contract: Contract; node: NonNullable<Operation['body']>; request: boolean }) {
  return (
    <Tabs defaultValue="schema" variant="pills" radius="sm">
      <Tabs.List mb="xs">
        <Tabs.Tab value="schema">{t('apiDocs.schema')}</Tabs.Tab>
        <Tabs.Tab value="example">{t('apiDocs.example')}</Tabs.Tab>
      </Tabs.List>
      <Tabs.Panel value="schema">
        <Code>{typeText(contract, node)}</Code>
        <SchemaView contract={contract} node={node} />
      </Tabs.Panel>
      <Tabs.Panel value="example">
        <CodeBlock code={JSON.stringify(example(contract, node, request), null, 2)} label={t('apiDocs.example')} />
      </Tabs.Panel>
    </Tabs>
  );
}

function Answers({ contract, operation }: { contract: Contract; operation: Operation }) {
  return (
    <section>
      <Title order={4} mb="xs">
        {t('apiDocs.answers')}
      </Title>
      <Stack gap={4}>
        {operation.answers.map((answer) => (
          <details key={answer.status} className={classes.answer} open={answer.status.startsWith('2')}>
            <summary>
              <Code fw={600}>{answer.status}</Code>{' '}
              <Text span size="sm">
                {answer.description}
              </Text>{' '}
              {answer.media && (
                <Text span size="xs" c="dimmed">
                  {answer.media}
                </Text>
              )}
            </summary>
            {answer.schema && answer.media.includes('json') && <Body contract={contract} node={answer.schema} request={false} />}
          </details>
        ))}
      </Stack>
    </section>
  );
}
