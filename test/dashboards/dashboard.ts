// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// The type of this project's dashboards, based on Grafana's. Grafana's Dashboard type is
// open where it depends on the kind of a panel, a variable or a data source. Here it is
// closed for the kinds in use, so that another kind, an unknown field or a value of the
// wrong type is an error.

import type * as barGauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as timeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
import type * as raw from '@grafana/schema/dist/esm/raw/dashboard/x/Dashboard_types.gen';
import type { PrometheusDataQuery } from '@grafana/schema-10/dist/esm/raw/composable/prometheus/dataquery/x/PrometheusDataQuery_types.gen';

// The JSON form of T: string enums become their values.
type JSONOf<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: JSONOf<T[K]> } : T;

// T with other types for some of its fields.
type With<T, Fields> = Omit<T, keyof Fields> & Fields;

type DataSource = { type: 'prometheus'; uid: '${datasource}' };

type Query = With<PrometheusDataQuery, { datasource?: never }>;

// A property of a series, general or specific to the kind of panel, and its value.
type Property<Custom> =
  | { [K in keyof raw.FieldConfig]-?: { id: K; value: raw.FieldConfig[K] } }[keyof raw.FieldConfig]
  | { [K in keyof Custom & string]-?: { id: `custom.${K}`; value: Custom[K] } }[keyof Custom & string];

type Override<Custom> = {
  matcher: { id: 'byName' | 'byRegexp' | 'byFrameRefID'; options: string };
  properties: Property<Custom>[];
};

type FieldConfig<Custom> = {
  defaults: With<raw.FieldConfig, { custom?: Custom; links?: never }>;
  overrides: Override<Custom>[];
};

type PanelOf<Kind extends string, Options, Custom> = With<
  Required<Pick<raw.Panel, 'id' | 'title' | 'description' | 'gridPos'>> & raw.Panel,
  {
    type: Kind;
    datasource: DataSource;
    options: Options;
    fieldConfig: FieldConfig<Custom>;
    targets: Query[];
    transformations?: never;
  }
>;

type Panel =
  | PanelOf<'timeseries', timeSeries.Options, timeSeries.FieldConfig>
  | PanelOf<'bargauge', barGauge.Options, Record<string, never>>
  | PanelOf<'stat', stat.Options, Record<string, never>>;

type Row = With<raw.RowPanel, { panels: [] }>;

type Variable =
  | With<raw.VariableModel, { type: 'datasource'; query: 'prometheus' }>
  | With<raw.VariableModel, { type: 'query'; datasource: DataSource; query: { qryType: number; query: string; refId: string } }>;

export type Dashboard = JSONOf<
  With<
    Required<Pick<raw.Dashboard, 'uid' | 'title' | 'description' | 'schemaVersion' | 'time' | 'refresh'>> & raw.Dashboard,
    { panels: (Panel | Row)[]; templating: { list: Variable[] } }
  >
>;
