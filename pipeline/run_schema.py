"""The tables of `run.db`: what a run records of itself. Written and read in `run_folder.py`."""

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS status (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stages (
    name TEXT PRIMARY KEY, attempt INTEGER NOT NULL, state TEXT NOT NULL, started REAL, ended REAL,
    done REAL, total REAL, unit TEXT, message TEXT, seconds_left REAL);
CREATE TABLE IF NOT EXISTS metrics (
    id INTEGER PRIMARY KEY, stage TEXT NOT NULL, attempt INTEGER NOT NULL, step INTEGER NOT NULL,
    key TEXT NOT NULL, value REAL, time REAL NOT NULL);
CREATE INDEX IF NOT EXISTS metrics_by_key ON metrics (key, id);
CREATE INDEX IF NOT EXISTS metrics_by_step ON metrics (stage, step);
CREATE INDEX IF NOT EXISTS metrics_by_series ON metrics (stage, key, step, value);
CREATE TABLE IF NOT EXISTS groups (
    id INTEGER PRIMARY KEY, stage TEXT NOT NULL, attempt INTEGER NOT NULL, step INTEGER NOT NULL,
    position INTEGER NOT NULL, prompt TEXT NOT NULL, reference TEXT, time REAL NOT NULL,
    mean_total REAL, spread REAL, best REAL, worst REAL, right INTEGER, truncated INTEGER, size INTEGER);
CREATE INDEX IF NOT EXISTS groups_by_step ON groups (stage, step);
CREATE INDEX IF NOT EXISTS groups_by_prompt ON groups (prompt);
CREATE TABLE IF NOT EXISTS completions (
    id INTEGER PRIMARY KEY, group_id INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    position INTEGER NOT NULL, text TEXT NOT NULL, tokens INTEGER, truncated INTEGER,
    rewards TEXT NOT NULL, total REAL, advantage REAL, extracted TEXT);
CREATE INDEX IF NOT EXISTS completions_by_group ON completions (group_id);
CREATE VIRTUAL TABLE IF NOT EXISTS completions_search USING fts5 (
    text, content='completions', content_rowid='id', tokenize='unicode61');
CREATE TABLE IF NOT EXISTS evaluations (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, benchmark TEXT NOT NULL, settings TEXT NOT NULL,
    question_index INTEGER NOT NULL, sample INTEGER NOT NULL, question TEXT NOT NULL, reference TEXT,
    subject TEXT, completion TEXT NOT NULL, extracted TEXT, exact INTEGER, lenient INTEGER, plausible INTEGER,
    format INTEGER, tokens INTEGER, truncated INTEGER, seconds REAL,
    UNIQUE (model, benchmark, settings, question_index, sample));
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, level TEXT NOT NULL, stage TEXT, step INTEGER,
    text TEXT NOT NULL, data TEXT);
"""
