"""The application that test_fastapi_process serves with uvicorn."""

import os

from fastapi import FastAPI

from kling_async import Policy, TextToVideo
from kling_async.fastapi import jobs_router, kling_lifespan

QUICK = Policy(
    sweep_s=0.3, late_s=0.5, ceiling_s=0.6, price_s=0.1, settle_s=3.0
)  # long enough to find out what the host can find

app = FastAPI(lifespan=kling_lifespan(journal=os.environ["JOURNAL"], policy=QUICK, drain=0.5, adopt_every=1.0))
app.include_router(jobs_router(requests=[TextToVideo]))
