PRAGMA application_id=1263291975;
PRAGMA user_version=1;
BEGIN TRANSACTION;
CREATE TABLE bodies (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
INSERT INTO "bodies" VALUES(1,'{"endpoint":"text2video","request":{"prompt":"A boat on a lake, \u4efb\u52a1.","duration":"5"},"fingerprint":"16d879981d90be64ebc1a1d6007f1dea8f70dbf7a770adf29e781ecd26757e9d","callback_url":null,"metadata":{"line":0},"timeout_s":null}');
INSERT INTO "bodies" VALUES(2,'{"endpoint":"text2video","request":{"prompt":"A boat on a lake, \u4efb\u52a1.","duration":"5"},"fingerprint":"16d879981d90be64ebc1a1d6007f1dea8f70dbf7a770adf29e781ecd26757e9d","callback_url":"https://me.example/hook","metadata":{"line":1},"timeout_s":3600.0}');
INSERT INTO "bodies" VALUES(3,'{"endpoint":"text2video","request":{"prompt":"A boat on a lake, \u4efb\u52a1.","duration":"5"},"fingerprint":"16d879981d90be64ebc1a1d6007f1dea8f70dbf7a770adf29e781ecd26757e9d","callback_url":null,"metadata":{"line":2},"timeout_s":null}');
INSERT INTO "bodies" VALUES(4,'{"endpoint":"text2video","request":{"prompt":"A boat on a lake, \u4efb\u52a1.","duration":"5"},"fingerprint":"16d879981d90be64ebc1a1d6007f1dea8f70dbf7a770adf29e781ecd26757e9d","callback_url":null,"metadata":{"line":3},"timeout_s":3600.0}');
INSERT INTO "bodies" VALUES(5,'{"endpoint":"text2video","request":{"prompt":"A boat on a lake, \u4efb\u52a1.","duration":"5"},"fingerprint":"16d879981d90be64ebc1a1d6007f1dea8f70dbf7a770adf29e781ecd26757e9d","callback_url":null,"metadata":{"line":4},"timeout_s":null}');
INSERT INTO "bodies" VALUES(6,'{"endpoint":"text2video","request":{"prompt":"A boat on a lake, \u4efb\u52a1.","duration":"5"},"fingerprint":"16d879981d90be64ebc1a1d6007f1dea8f70dbf7a770adf29e781ecd26757e9d","callback_url":null,"metadata":{"line":5},"timeout_s":3600.0}');
INSERT INTO "bodies" VALUES(7,'{"endpoint":"text2video","request":{"prompt":"A boat on a lake, \u4efb\u52a1.","duration":"5"},"fingerprint":"16d879981d90be64ebc1a1d6007f1dea8f70dbf7a770adf29e781ecd26757e9d","callback_url":null,"metadata":{"line":6},"timeout_s":null}');
INSERT INTO "bodies" VALUES(8,'{"endpoint":"text2video","request":{"prompt":"A boat on a lake, \u4efb\u52a1.","duration":"5"},"fingerprint":"16d879981d90be64ebc1a1d6007f1dea8f70dbf7a770adf29e781ecd26757e9d","callback_url":null,"metadata":{"line":7},"timeout_s":3600.0}');
CREATE TABLE entries (
            id INTEGER PRIMARY KEY, job_id TEXT NOT NULL UNIQUE, host TEXT NOT NULL, created_at REAL NOT NULL,
            body_crc INTEGER NOT NULL, settled INTEGER NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
            sent_at REAL, task_id TEXT, outcome_crc INTEGER, owner TEXT, epoch INTEGER NOT NULL,
            updated_at REAL NOT NULL, seal INTEGER NOT NULL
        );
INSERT INTO "entries" VALUES(1,'queued','https://api.example',1790000000.25,1997743359,0,'queued',0,NULL,NULL,NULL,'first run',1,1790000000.25,1930539431);
INSERT INTO "entries" VALUES(2,'sending','https://api.example',1790000001.25,1492004794,0,'sending',1,1790000000.25,NULL,NULL,'first run',1,1790000000.25,2913651444);
INSERT INTO "entries" VALUES(3,'unsure','https://api.example',1790000002.25,3185398387,0,'unsure',1,1790000000.25,NULL,NULL,'first run',1,1790000000.25,2018052820);
INSERT INTO "entries" VALUES(4,'accepted','https://api.example',1790000003.25,4286060785,0,'accepted',1,1790000000.25,'t-accepted',NULL,'first run',1,1790000000.25,1949438018);
INSERT INTO "entries" VALUES(5,'done','https://api.example',1790000004.25,973000614,1,'succeeded',1,1790000000.25,'t-done',767045011,'first run',1,1790000000.25,1958433542);
INSERT INTO "entries" VALUES(6,'lost','https://api.example',1790000005.25,2374582897,1,'unresolved',2,1790000000.25,NULL,2231304580,'first run',1,1790000000.25,3938776972);
INSERT INTO "entries" VALUES(7,'never-sent','https://api.example',1790000006.25,4080056618,1,'unresolved',0,NULL,NULL,1322681944,'first run',1,1790000000.25,81163409);
INSERT INTO "entries" VALUES(8,'abandoned','https://api.example',1790000007.25,2748943345,1,'abandoned',1,1790000000.25,NULL,2577644169,'first run',1,1790000000.25,4205289833);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL, at REAL NOT NULL, seal INTEGER NOT NULL);
INSERT INTO "facts" VALUES('https://api.example reach','{"batch":true}',1790000000.25,3953279672);
CREATE TABLE leases (owner TEXT PRIMARY KEY, lease_until REAL NOT NULL, seal INTEGER NOT NULL);
INSERT INTO "leases" VALUES('first run',1790000090.25,90457027);
CREATE TABLE outcomes (id INTEGER PRIMARY KEY, outcome TEXT NOT NULL);
INSERT INTO "outcomes" VALUES(5,'{"raw":{"task_id":"t-done","task_status":"succeed","task_result":{"videos":[{"id":"v","url":"https://h.example/x.mp4","duration":"5.041"}]}}}');
INSERT INTO "outcomes" VALUES(6,'{"error":"SubmissionUnknown","args":["sent, and it could not be found out whether a task exists"],"with":{"paid":"maybe","job_id":"lost"}}');
INSERT INTO "outcomes" VALUES(7,'{"error":"SubmissionUnknown","args":["not sent"]}');
INSERT INTO "outcomes" VALUES(8,'{"error":"JobAbandoned","args":["followed no longer"]}');
CREATE INDEX unsettled ON entries (host, created_at) WHERE settled = 0;
COMMIT;
